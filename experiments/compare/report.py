"""Write the report on a grid of runs: a file with the results, tables and figures.

`results.json` stores the command, learning curves, evaluations and measures of collapse. The other files are computed
from `results.json`. They are `README.md`, `curves.svg`, `collapse.svg`, `kept.svg` if the games can be won, and
`sweep.svg` if a setting was varied. Results of earlier versions may lack measures of collapse. The section on collapse
is then omitted.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiments.compare.collapse_figure import collapse_figure
from experiments.compare.collapse_tables import collapse_section
from experiments.compare.figures import curves_figure, sweep_figure, tradeoff_figure
from experiments.compare.intervals import ABOVE_0, RATE, over_runs
from experiments.compare.results import SOLVED, Row, Rows, by_label, can_be_won, varied_value, winning_sequences
from experiments.tables import interval, table
from games.files import atomic_write

RESULTS = "results.json"


def write(out: Path, about: Mapping[str, Any], rows: Rows) -> None:
    """Write results, tables and figures into `out`.

    `about` describes the origin of the results: the command, the game and the number of episodes.
    """
    out.mkdir(parents=True, exist_ok=True)
    results = {"about": dict(about), "runs": list(rows)}
    atomic_write(out / RESULTS, json.dumps(results, indent=1, allow_nan=False) + "\n")
    atomic_write(out / "README.md", markdown(results))
    curves_figure(rows, out / "curves.svg")
    if has_collapse(rows):
        collapse_figure(rows, out / "collapse.svg")
    if has_tradeoff(rows):
        tradeoff_figure(rows, out / "kept.svg")
    if any(row["setting"] for row in rows):
        sweep_figure(rows, out / "sweep.svg")


def has_collapse(rows: Rows) -> bool:
    """Return whether every run has measures of collapse. Results of earlier versions lack these measures."""
    return all("collapse" in row for row in rows)


def has_tradeoff(rows: Rows) -> bool:
    """Return whether `tradeoff_figure` can draw success against the diversity that remains after training."""
    return can_be_won(rows) and has_collapse(rows) and any(map(winning_sequences, rows))


def headline(row: Row) -> str:
    """Return one line about a finished run.

    The line states the run's success. If the game cannot be won, the line states the reward.
    """
    if can_be_won([row]):
        return f"{row['name']}: {row['curves']['recent_success'][-1]:.2f} of the last episodes won"
    return f"{row['name']}: reward per episode {row['curves']['reward'][-1]:.2f} in the last rollout"


def markdown(results: Mapping[str, Any]) -> str:
    """Return the report in Markdown: a table of all runs, a table over seeds, and the section on collapse."""
    about, rows = results["about"], results["runs"]
    lines = [f"# {about['game']}", "", "Command:", "", "```", about["command"], "```", ""]
    setting = next((row["setting"] for row in rows if row["setting"]), None)
    if about.get("tests"):
        lines += [_tests(about["tests"], rows), ""]
    lines += [_all_runs(rows, setting), "", *_over_seeds(rows, setting), ""]
    lines.append("![learning curves](curves.svg)")
    if setting:
        lines.append("![success and entropy along the sweep](sweep.svg)")
    if has_tradeoff(rows):
        lines.append("![share won against KL to the first policy, and against winning sequences](kept.svg)")
    note = (
        f"Intervals are at 95%: of a run over its {about['episodes']} episodes (bootstrap), of a mean over seeds by"
        " Student's t, clipped to the range of the quantity (0 to 1 for a rate, from 0 for an entropy)."
    )
    if commands := _bonus_commands(rows):
        note += (
            f" Turns on the bonus: the share of an episode's turns whose command begins with {commands}. These turns"
            " earned the bonus in addition to the game's score; won and score do not include it."
        )
    collapse = collapse_section(rows, setting, about["episodes"]) if has_collapse(rows) else []
    return "\n".join([*lines, "", note, "", *collapse])


def _tests(tests: str, rows: Rows) -> str:
    """Return a text about the test games.

    The finished agents played these games instead of the training games.
    """
    seen = max(row["evaluation"]["sampled"].get("trained_on") or 0 for row in rows)
    known = f"runs were trained on up to {seen} of them" if seen else "none of them was trained on"
    return f"Finished agents played `{tests}`; {known}. Learning curves show the games of training."


def _all_runs(rows: Rows, setting: str | None) -> str:
    wins, bonus = can_be_won(rows), bool(_bonus_commands(rows))
    heads = ["optimizer", *([setting] if setting else []), "seed"]
    if wins:
        heads += ["90% of 100 won after", "last 100 won", "won, sampled", "won, greedy", "score, sampled"]
    else:
        heads.append("reward per episode, last rollout")
    heads += ["turns on the bonus, sampled", "turns on the bonus, greedy"] if bonus else []
    heads.append("entropy, sampled (nats)")
    lines = []
    for row in rows:
        sampled, greedy = (row["evaluation"][how] for how in ("sampled", "greedy"))
        cells = [row["optimizer"], *([varied_value(row)] if setting else []), row["seed"]]
        if wins:
            estimates = [sampled["success_rate"], greedy["success_rate"], sampled["normalized_score"]]
            cells += [_solved_after(row), f"{row['curves']['recent_success'][-1]:.2f}", *map(interval, estimates)]
        else:
            cells.append(f"{row['curves']['reward'][-1]:.2f}")
        cells += [interval(each.get("bonus_share")) for each in (sampled, greedy) if bonus]
        lines.append([*cells, interval(sampled["entropy"])])
    return table(heads, lines)


def _solved_after(row: Row) -> str:
    """Return a text with the number of episodes and minutes that the run needed to solve the game, or "never".

    A game is solved when 90% of the last 100 episodes were won.
    """
    curves = row["curves"]
    for success, episodes, seconds in zip(curves["recent_success"], curves["episodes"], curves["seconds"], strict=True):
        if episodes >= 100 and success >= SOLVED:
            return f"{episodes:.0f} episodes, {seconds / 60:.1f} min"
    return "never"


def _bonus_commands(rows: Rows) -> str:
    """Return a text that lists the commands that earned a bonus, or "" if no command did."""
    commands = dict.fromkeys(row["settings"]["reward"]["bonus_command"] for row in rows)
    return " or ".join(f"`{command}`" for command in commands if command)


def _over_seeds(rows: Rows, setting: str | None) -> list[str]:
    """Return a list that contains one table of means over seeds.

    The table has one line for each group of runs with several seeds. If no group has several seeds, the list is empty.
    """
    wins = [("won, sampled", "sampled", "success_rate"), ("won, greedy", "greedy", "success_rate")]
    bonus = [("turns on the bonus, sampled", "sampled", "bonus_share")]
    columns = [*(wins if can_be_won(rows) else []), *(bonus if _bonus_commands(rows) else [])]
    columns.append(("entropy, sampled (nats)", "sampled", "entropy"))
    heads = ["optimizer", *([setting] if setting else []), "seeds", *(head for head, _, _ in columns)]
    lines = []
    for group in by_label(rows).values():
        if len(group) > 1:
            cells = [group[0]["optimizer"], *([varied_value(group[0])] if setting else []), len(group)]
            for _, how, name in columns:
                values = [each["value"] for row in group if (each := row["evaluation"][how].get(name))]
                rate = name != "entropy"
                mean = over_runs(values, RATE if rate else ABOVE_0, ends=rate)
                cells.append(interval(None if mean is None else asdict(mean)))
            lines.append(cells)
    return [table(heads, lines)] if lines else []
