"""Learning curves of any runs side by side: `python -m experiments.compare.curves RUN... --out curves.svg`.

From each run's settings and metrics alone, so for runs that are no grid (`compare` draws those), that go on, or whose
checkpoints are elsewhere. Runs that differ in nothing but the seed share a colour, and their mean is drawn bold.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from agents.protocol import AgentError
from agents.storage.run_folder import read_config, read_metrics
from experiments.plot_style import PALETTE, make_figure, save_figure

NAMES = {
    "success": "share won",
    "recent_success": "share of the last 100 won",
    "normalized_score": "share of the score",
    "turn_entropy": "entropy over commands, nats",
    "kl_ref": "KL to the first policy, nats per choice",
}
"""What an axis says of a metric; others are called as in metrics.jsonl."""
DEFAULT = ("recent_success", "turn_entropy")
STYLES = ("-", "--", "-.", ":")


def draw(runs: Sequence[Path], columns: Sequence[str], path: Path) -> None:
    """One panel a column, against episodes, a line a run; AgentError where a run has no such metric."""
    lines = {run: read_metrics(run) for run in runs}
    for run, found in lines.items():
        lacking = [name for name in ("episodes", *columns) if not found or name not in found[-1]]
        if lacking:
            known = ", ".join(sorted(found[-1])) if found else "nothing yet"
            raise AgentError(f"{run} has no metric {lacking[0]!r}; it has {known}")
    figure, axes = make_figure(1, len(columns), 4.75 * len(columns))
    for axis, column in zip(np.ravel(axes), columns, strict=True):
        for number, (label, mine) in enumerate(alike(runs).items()):
            color, style = PALETTE[number % len(PALETTE)], STYLES[number % len(STYLES)]
            x = [[line["episodes"] for line in lines[run]] for run in mine]
            y = [[line[column] for line in lines[run]] for run in mine]
            for episodes, values in zip(x, y, strict=True):
                axis.plot(episodes, values, color=color, ls=style, lw=0.6, alpha=0.35 if len(mine) > 1 else 1.0)
            far = min(map(len, y))
            mean = np.mean([values[:far] for values in y], axis=0)
            axis.plot(x[0][:far], mean, label=label, color=color, ls=style, lw=1.8)
        axis.set(xlabel="episodes", ylabel=NAMES.get(column, column))
    np.ravel(axes)[0].legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def alike(runs: Sequence[Path]) -> dict[str, list[Path]]:
    """Runs by their label: the optimizer, and each setting that is not the same in all; the seed does not count."""
    settings = [read_config(run).flat() for run in runs]
    differ = [name for name in settings[0] if len({str(found[name]) for found in settings}) > 1]
    groups: dict[str, list[Path]] = {}
    for run, found in zip(runs, settings, strict=True):
        own = [f"{name} {found[name]}" for name in differ if name not in ("seed", "optimizer")]
        groups.setdefault(", ".join([str(found["optimizer"]), *own]), []).append(run)
    return groups


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw what the command line asks for; a user's mistake is one line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder with settings.json and metrics.jsonl")
    parser.add_argument("--columns", default=",".join(DEFAULT), help="metrics, joined by commas (%(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="the figure, .svg, .png or .pdf")
    given = parser.parse_args(arguments)
    try:
        draw(given.runs, given.columns.split(","), given.out)
    except (AgentError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
