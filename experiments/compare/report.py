"""What a grid of runs says: one results file, and from it alone tables and figures.

`results.json` keeps the command's settings, the learning curves, the evaluations and the measures of collapse;
`README.md`, `curves.svg`, `collapse.svg`, for games that are won `kept.svg`, and where a setting was varied
`sweep.svg` are made from it and from nothing else. Older results without measures of collapse have a report without
them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiments.compare.collapse_tables import collapse_section, interval, value_of
from experiments.compare.figures import (
    SOLVED,
    collapse_figure,
    curves_figure,
    kept_figure,
    sweep_figure,
    winnable,
    winning_sequences,
)
from experiments.compare.intervals import ABOVE_0, RATE, over_runs
from experiments.tables import table
from games.files import atomic_write

RESULTS = "results.json"


def write(out: Path, about: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write results, tables and figures into `out`; `about` is what made them (command, game, episodes)."""
    out.mkdir(parents=True, exist_ok=True)
    results = {"about": dict(about), "runs": list(rows)}
    atomic_write(out / RESULTS, json.dumps(results, indent=1, allow_nan=False) + "\n")
    atomic_write(out / "README.md", markdown(results))
    curves_figure(rows, out / "curves.svg")
    if has_collapse(rows):
        collapse_figure(rows, out / "collapse.svg")
    if has_costs(rows):
        kept_figure(rows, out / "kept.svg")
    if any(row["setting"] for row in rows):
        sweep_figure(results, out / "sweep.svg")


def has_collapse(rows: Sequence[Mapping[str, Any]]) -> bool:
    """True where every run was measured for collapse; results of earlier versions were not."""
    return all("collapse" in row for row in rows)


def has_costs(rows: Sequence[Mapping[str, Any]]) -> bool:
    """True where success can be drawn against what it has cost the first policy."""
    return winnable(rows) and has_collapse(rows) and any(winning_sequences(row["collapse"]) for row in rows)


def solved_at(row: Mapping[str, Any]) -> dict[str, float] | None:
    """Episodes and minutes after which 90% of the last 100 episodes were won; None if that never was."""
    curves = row["curves"]
    for success, episodes, seconds in zip(curves["recent_success"], curves["episodes"], curves["seconds"], strict=True):
        if episodes >= 100 and success >= SOLVED:
            return {"episodes": episodes, "minutes": seconds / 60}
    return None


def headline(row: Mapping[str, Any]) -> str:
    """One line about a finished run: its success, or its reward in a game that cannot be won."""
    if winnable([row]):
        return f"{row['name']}: {row['curves']['recent_success'][-1]:.2f} of the last episodes won"
    return f"{row['name']}: reward per episode {row['curves']['reward'][-1]:.2f} in the last rollout"


def markdown(results: Mapping[str, Any]) -> str:
    """The tables of all runs, and over seeds."""
    about, rows = results["about"], results["runs"]
    lines = [f"# {about['game']}", "", "Made by", "", "```", about["command"], "```", ""]
    setting = next((row["setting"] for row in rows if row["setting"]), None)
    lines += _tests(about, rows)
    lines += _all_runs(rows, setting)
    lines += ["", *_over_seeds(rows, setting)]
    figures = ["![learning curves](curves.svg)"]
    if setting:
        figures.append("![success and entropy along the sweep](sweep.svg)")
    if has_costs(rows):
        figures.append("![share won against KL to the first policy, and against winning sequences](kept.svg)")
    note = (
        f"Intervals: 95%; of a run over {about['episodes']} episodes (bootstrap), of a mean over the runs' seeds by"
        " Student's t, cut off where the quantity ends (a rate at 0 and 1, an entropy at 0)."
    )
    acts = _acts(rows)
    if acts:
        note += (
            f" Turns on the bonus: the share of an episode's turns whose command begins with {acts}, which earned the"
            " bonus beside the game's own score; won and score are the game's own."
        )
    collapse = collapse_section(rows, setting, about["episodes"]) if has_collapse(rows) else []
    return "\n".join([*lines, "", *figures, "", note, "", *collapse])


def _tests(about: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was learned from and what the finished agents played, where that is not the same."""
    if not about.get("tests"):
        return []
    seen = max(row["evaluation"]["sampled"].get("trained_on") or 0 for row in rows)
    known = "none of them was trained on" if not seen else f"up to {seen} of them were trained on all the same"
    return [f"Finished agents played `{about['tests']}`; {known}. Learning curves are of the games above.", ""]


def _all_runs(rows: Sequence[Mapping[str, Any]], setting: str | None) -> list[str]:
    can_win = winnable(rows)
    heads = ["optimizer", *([setting] if setting else []), "seed"]
    if can_win:
        heads += ["90% of 100 won after", "last 100 won", "won, sampled", "won, greedy", "score, sampled"]
    else:
        heads.append("reward per episode, last rollout")
    acts = _acts(rows)
    heads += ["turns on the bonus, sampled", "turns on the bonus, greedy"] if acts else []
    heads.append("entropy, sampled (nats)")
    lines = []
    for row in rows:
        cells = [row["optimizer"], *([value_of(row)] if setting else []), row["seed"]]
        cells += _wins(row) if can_win else [f"{row['curves']['reward'][-1]:.2f}"]
        cells += [interval(row["evaluation"][how].get("bonus_share")) for how in ("sampled", "greedy") if acts]
        cells.append(interval(row["evaluation"]["sampled"]["entropy"]))
        lines.append(cells)
    return [table(heads, lines)]


def _acts(rows: Sequence[Mapping[str, Any]]) -> str:
    """The commands whose share of the turns was measured, as text; "" where none was (nor in older results)."""
    found = dict.fromkeys(row["settings"]["reward"]["bonus_command"] for row in rows)
    return " or ".join(f"`{act}`" for act in found if act)


def _wins(row: Mapping[str, Any]) -> list[str]:
    solved, sampled = solved_at(row), row["evaluation"]["sampled"]
    reached = "never" if solved is None else f"{solved['episodes']:.0f} episodes, {solved['minutes']:.1f} min"
    rates = [sampled["success_rate"], row["evaluation"]["greedy"]["success_rate"], sampled["normalized_score"]]
    return [reached, f"{row['curves']['recent_success'][-1]:.2f}", *map(interval, rates)]


def _over_seeds(rows: Sequence[Mapping[str, Any]], setting: str | None) -> list[str]:
    """Means over seeds, a line for each optimizer and value that has several; no table where none has."""
    groups: dict[tuple[str, Any], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["optimizer"], row["value"]), []).append(row)
    what = [("won, sampled", "sampled", "success_rate"), ("won, greedy", "greedy", "success_rate")]
    acts = [("turns on the bonus, sampled", "sampled", "bonus_share")] if _acts(rows) else []
    what = [*(what if winnable(rows) else []), *acts, ("entropy, sampled (nats)", "sampled", "entropy")]
    heads = ["optimizer", *([setting] if setting else []), "seeds", *(head for head, _, _ in what)]
    lines = []
    for (optimizer, _), mine in groups.items():
        if len(mine) > 1:
            cells = [optimizer, *([value_of(mine[0])] if setting else []), len(mine)]
            for _, how, name in what:
                values = [found["value"] for row in mine if (found := row["evaluation"][how].get(name))]
                rate = name != "entropy"
                found = over_runs(values, RATE if rate else ABOVE_0, ends=rate)
                cells.append(interval(None if found is None else asdict(found)))
            lines.append(cells)
    return [table(heads, lines)] if lines else []
