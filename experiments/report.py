"""What a grid of runs says: one results file, and from it alone a table and two figures.

`results.json` keeps the command's settings, the learning curves and the evaluations; `README.md`, `curves.svg`
and, where a setting was varied, `sweep.svg` are made from it and from nothing else.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from agents.evaluate import estimate
from agents.run_folder import replace_text
from experiments.figures import COLORS, make_figure, save_figure

RESULTS = "results.json"
SOLVED = 0.9


def write(out: Path, about: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write results, table and figures into `out`; `about` is what made them (command, game, episodes)."""
    out.mkdir(parents=True, exist_ok=True)
    results = {"about": dict(about), "runs": list(rows)}
    replace_text(out / RESULTS, json.dumps(results, indent=1, allow_nan=False) + "\n")
    replace_text(out / "README.md", markdown(results))
    curves_figure(results, out / "curves.svg")
    if any(row["setting"] for row in rows):
        sweep_figure(results, out / "sweep.svg")


def solved_at(row: Mapping[str, Any]) -> dict[str, float] | None:
    """Episodes and minutes after which 90% of the last 100 episodes were won; None if that never was."""
    curves = row["curves"]
    for success, episodes, seconds in zip(curves["recent_success"], curves["episodes"], curves["seconds"], strict=True):
        if episodes >= 100 and success >= SOLVED:
            return {"episodes": episodes, "minutes": seconds / 60}
    return None


def markdown(results: Mapping[str, Any]) -> str:
    """The table of all runs."""
    about, rows = results["about"], results["runs"]
    lines = [f"# {about['game']}", "", "Made by", "", "```", about["command"], "```", ""]
    setting = next((row["setting"] for row in rows if row["setting"]), None)
    heads = ["optimizer", *([setting] if setting else []), "seed", "90% of 100 won after", "last 100 won"]
    heads += ["won, sampled", "won, greedy", "score, sampled", "entropy, sampled (nats)"]
    lines += ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for row in rows:
        solved = solved_at(row)
        reached = "never" if solved is None else f"{solved['episodes']:.0f} episodes, {solved['minutes']:.1f} min"
        cells = [row["optimizer"], *([f"{row['value']}"] if setting else []), f"{row['seed']}", reached]
        cells.append(f"{row['curves']['recent_success'][-1]:.2f}")
        for how, what in (("sampled", "success_rate"), ("greedy", "success_rate")):
            cells.append(interval(row["evaluation"][how][what]))
        cells.append(interval(row["evaluation"]["sampled"]["normalized_score"]))
        cells.append(interval(row["evaluation"]["sampled"]["entropy"]))
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", *_over_seeds(rows, setting)]
    figures = ["![learning curves](curves.svg)"]
    if setting:
        figures.append("![success and entropy along the sweep](sweep.svg)")
    note = f"Intervals: 95%; of a run over {about['episodes']} episodes, of a mean over the runs' seeds (bootstrap)."
    return "\n".join([*lines, "", *figures, "", note, ""])


def _over_seeds(rows: Sequence[Mapping[str, Any]], setting: str | None) -> list[str]:
    """Means over seeds, a line for each optimizer and value that has several; no table where none has."""
    groups: dict[tuple[str, Any], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["optimizer"], row["value"]), []).append(row)
    heads = [
        "optimizer",
        *([setting] if setting else []),
        "seeds",
        "won, sampled",
        "won, greedy",
        "entropy, sampled (nats)",
    ]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for (optimizer, value), mine in groups.items():
        if len(mine) > 1:
            cells = [optimizer, *([f"{value}"] if setting else []), f"{len(mine)}"]
            for how, what in (("sampled", "success_rate"), ("greedy", "success_rate"), ("sampled", "entropy")):
                found = estimate([row["evaluation"][how][what]["value"] for row in mine], unit=what != "entropy")
                cells.append(interval(None if found is None else asdict(found)))
            lines.append("| " + " | ".join(cells) + " |")
    return lines if len(lines) > 2 else []


def interval(estimate: Mapping[str, float | None] | None) -> str:
    """ "0.95 (0.83 to 1.00)", or the value alone where the sample has no spread."""
    if estimate is None:
        return ""
    value, low, high = estimate["value"], estimate["low"], estimate["high"]
    return f"{value:.2f}" if low is None else f"{value:.2f} ({low:.2f} to {high:.2f})"


def curves_figure(results: Mapping[str, Any], path: Path) -> None:
    """Success over the last 100 episodes and entropy against episodes: one line a run."""
    rows = results["runs"]
    figure, axes = make_figure()
    values = list(dict.fromkeys(row["value"] for row in rows))
    styles = ["-", "--", "-.", ":", (0, (1, 3)), (0, (5, 1, 1, 1, 1, 1))]
    for row in rows:
        label = row["optimizer"] + ("" if row["setting"] is None else f", {row['setting']} {row['value']}")
        style = {
            "color": COLORS.get(row["optimizer"]),
            "ls": styles[values.index(row["value"]) % len(styles)],
            "lw": 1.3,
        }
        axes[0].plot(row["curves"]["episodes"], row["curves"]["recent_success"], label=label, **style)
        axes[1].plot(row["curves"]["episodes"], row["curves"]["turn_entropy"], **style)
    axes[0].axhline(SOLVED, color="0.6", lw=0.8, ls=":")
    axes[0].set(xlabel="episodes", ylabel="share of the last 100 won", ylim=(-0.02, 1.02))
    axes[1].set(xlabel="episodes", ylabel="entropy over commands, nats", ylim=(0, None))
    handles, labels = axes[0].get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    axes[0].legend(unique.values(), unique.keys(), frameon=False, fontsize=8)
    save_figure(figure, path)


def sweep_figure(results: Mapping[str, Any], path: Path) -> None:
    """Success (sampled and greedy) and entropy against the setting that was varied: a dot a run, a line of means."""
    rows = [row for row in results["runs"] if row["setting"]]
    figure, axes = make_figure()
    for optimizer in dict.fromkeys(row["optimizer"] for row in rows):
        mine = [row for row in rows if row["optimizer"] == optimizer]
        color = COLORS.get(optimizer)
        for how, marker, style in (("sampled", "o", "-"), ("greedy", "s", "--")):
            _points(axes[0], mine, how, "success_rate", color, marker, style, f"{optimizer}, {how}")
        _points(axes[1], mine, "sampled", "entropy", color, "o", "-", optimizer)
    name = rows[0]["setting"]
    axes[0].set(xscale="log", xlabel=name, ylabel="share of episodes won", ylim=(-0.02, 1.02))
    axes[1].set(xscale="log", xlabel=name, ylabel="entropy over commands, nats", ylim=(0, None))
    axes[0].legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def _points(
    axis: Any,
    rows: Iterable[Mapping[str, Any]],
    how: str,
    what: str,
    color: str | None,
    marker: str,
    style: str,
    label: str,
) -> None:
    found: dict[float, list[float]] = {}
    for row in rows:
        found.setdefault(float(row["value"]), []).append(row["evaluation"][how][what]["value"])
    x = sorted(found)
    fill = color if style == "-" else "none"
    for value in x:
        axis.plot([value] * len(found[value]), found[value], marker, mfc=fill, color=color, ms=4, ls="none")
    axis.plot(x, [float(np.mean(found[value])) for value in x], style, color=color, lw=1.2, label=label)
