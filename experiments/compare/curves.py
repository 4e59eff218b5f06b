"""Draw learning curves of any runs side by side: `python -m experiments.compare.curves RUN... --out curves.svg`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from agents.protocol import AgentError
from agents.storage.run_folder import read_config, read_metrics
from agents.storage.run_summary import differing_settings
from experiments import program
from experiments.plot_style import PALETTE, make_figure, plot_runs, save_figure
from games.files import exclusive

LABELS = {  # the label of any other metric is its name
    "success": "share won",
    "recent_success": "share of the last 100 won",
    "normalized_score": "share of the score",
    "turn_entropy": "entropy over commands, nats",
    "kl_ref": "KL to the first policy, nats per choice",
}
STYLES = ("-", "--", "-.", ":")


def draw(runs: Sequence[Path], columns: Sequence[str], path: Path) -> None:
    """Draw each metric in `columns` against the number of episodes, one panel per metric.

    Raises:
        AgentError: a run lacks a metric.
    """
    lines = {run: read_metrics(run) for run in runs}
    for run, rows in lines.items():
        if missing := [name for name in ("episodes", *columns) if all(row.get(name) is None for row in rows)]:
            raise AgentError(f"{run} has no metric {missing[0]!r}; it has {', '.join(sorted(rows[-1]))}")
    figure, axes = make_figure(1, len(columns), 4.75 * len(columns))
    for axis, column in zip(np.ravel(axes), columns, strict=True):
        for index, (label, group) in enumerate(group_seeds(runs).items()):
            color, style = PALETTE[index % len(PALETTE)], STYLES[index % len(STYLES)]
            x, y = ([[line.get(name) for line in lines[run]] for run in group] for name in ("episodes", column))
            plot_runs(axis, x, y, label=label, color=color, style=style, alpha=0.35 if len(group) > 1 else 1.0)
        axis.set(xlabel="episodes", ylabel=LABELS.get(column, column))
    np.ravel(axes)[0].legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def group_seeds(runs: Sequence[Path]) -> dict[str, list[Path]]:
    """Group the runs that differ only in the seed. Return a dict: label of a group -> runs."""
    settings = [read_config(run).flat() for run in runs]
    names = [name for name in differing_settings(settings) if name not in ("seed", "optimizer")]
    groups: dict[str, list[Path]] = {}
    for run, run_settings in zip(runs, settings, strict=True):
        values = [f"{name} {run_settings[name]}" for name in names]
        groups.setdefault(", ".join([str(run_settings["optimizer"]), *values]), []).append(run)
    return groups


@program.one_line_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder with settings.json and metrics.jsonl")
    parser.add_argument(
        "--columns", default="recent_success,turn_entropy", help="metrics, separated by commas (%(default)s)"
    )
    parser.add_argument("--out", type=Path, required=True, help="file of the figure: .svg, .png or .pdf")
    options = parser.parse_args(arguments)
    with exclusive(options.out.parent, options.out.name):
        draw(options.runs, options.columns.split(","), options.out)


if __name__ == "__main__":
    main()
