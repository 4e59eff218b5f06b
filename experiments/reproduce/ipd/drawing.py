"""Draw the prisoner's dilemma curves in the post's style."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.plot_style import PALETTE, make_figure, save_figure
from experiments.reproduce.ipd.arms import Series
from experiments.reproduce.ipd.payoff_matrix import softmax_shares

# label, colour, line style and line width; dashed lines are for the softmax over returns, as in the post
LINE_STYLES = {
    "alternate": ("alternating", PALETTE[2], "-", 1.6),
    "cooperate": ("coop-coop", PALETTE[0], "-.", 1.2),
    "defect": ("defect-defect", PALETTE[1], "-", 0.8),
}
POINTS = 400  # per line, about; more would not be visible


def _axes(panels: int, columns: int, width: float, height: float) -> tuple[Any, Any]:
    rows = -(-panels // columns)
    figure, axes = make_figure(rows, columns, width * columns, height * rows)
    for axis in np.ravel(axes)[panels:]:
        axis.set_visible(False)
    return figure, np.ravel(axes)[:panels]


def _draw_shares(axis: Any, series: Series, trial: int | None) -> None:
    steps, downsampled = series.downsampled(POINTS)
    softmax = softmax_shares(series.payoff)
    for name, (label, color, style, width) in LINE_STYLES.items():
        rows = downsampled.column(name)
        line = rows.mean(axis=0) if trial is None else rows[trial]
        axis.plot(steps, line, style, color=color, lw=width, label=label)
        if trial is None and len(rows) > 1:
            spread = rows.std(axis=0, ddof=1)
            axis.fill_between(steps, line - spread, line + spread, color=color, alpha=0.2, lw=0)
        axis.axhline(softmax[name], color=color, ls="--", lw=1)
    axis.set(xlabel="epoch (gradient step)", ylabel="probability", ylim=(0, 1), xlim=(0, series.end))


def plot_shares(path: Path, panels: Sequence[tuple[str, Series, int | None]], *, columns: int) -> None:
    """Draw one panel per (title, series, trial). Trial None stands for the mean over all trials."""
    figure, axes = _axes(len(panels), columns, 4.75, 3.4)
    for axis, (title, series, trial) in zip(axes, panels, strict=True):
        _draw_shares(axis, series, trial)
        axis.set_title(title, fontsize=10)
    axes[0].plot([], [], "--", color="0.4", lw=1, label="softmax returns")
    if any(trial is None for _, _, trial in panels):
        axes[0].fill_between([], [], [], color="0.4", alpha=0.2, lw=0, label="st. dev.")
    axes[0].legend(frameon=False, fontsize=8, ncols=2)
    save_figure(figure, path)


def plot_trials(path: Path, panels: Sequence[tuple[str, Series]], *, columns: int) -> None:
    figure, axes = _axes(len(panels), columns, 3.2, 2.5)
    for axis, (title, series) in zip(axes, panels, strict=True):
        steps, downsampled = series.downsampled(POINTS)
        for row in downsampled.column("alternate"):
            axis.plot(steps, row, color=PALETTE[5], lw=0.6)
        axis.plot(steps, downsampled.column("alternate").mean(axis=0), color="black", lw=1.5)
        axis.axhline(0.5, color="0.5", ls=":", lw=1)
        axis.set(ylim=(0, 1), xlim=(0, series.end), xlabel="gradient step", ylabel="alternating")
        axis.set_title(f"{title} ({series.trials} trials)", fontsize=9)
    save_figure(figure, path)
