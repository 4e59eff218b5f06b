"""The post's figures of the prisoner's dilemma: shares of games against gradient steps, with its axes and bands."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.plot_style import PALETTE, make_figure, save_figure
from experiments.reproduce.ipd.arms import Series

LOOKS = {"alternate": (PALETTE[2], "-", 1.6), "cooperate": (PALETTE[0], "-.", 1.2), "defect": (PALETTE[1], "-", 0.8)}
"""Colour, style and width; dashes are for the softmax, as in the post."""
POINTS = 400
"""Of a line, about; a figure shows no more, and its file stays small."""
LABELS = {"alternate": "alternating", "cooperate": "coop-coop", "defect": "defect-defect"}


def shares(axis: Any, found: Series, lines: Mapping[str, float], *, trial: int | None = None) -> None:
    """One trial, or the mean of all with a band of one standard deviation; dashed: softmax over returns."""
    steps, few = found.thinned(POINTS)
    for name, (color, style, width) in LOOKS.items():
        rows = few.column(name)
        middle = rows.mean(axis=0) if trial is None else rows[trial]
        axis.plot(steps, middle, style, color=color, lw=width, label=LABELS[name])
        if trial is None and len(rows) > 1:
            spread = rows.std(axis=0, ddof=1)
            axis.fill_between(steps, middle - spread, middle + spread, color=color, alpha=0.2, lw=0)
        axis.axhline(lines[name], color=color, ls="--", lw=1)
    axis.set(xlabel="epoch (gradient step)", ylabel="probability", ylim=(0, 1), xlim=(0, found.end))


def legend(axis: Any, *, band: bool) -> None:
    """The post's legend."""
    axis.plot([], [], "--", color="0.4", lw=1, label="softmax returns")
    if band:
        axis.fill_between([], [], [], color="0.4", alpha=0.2, lw=0, label="st. dev.")
    axis.legend(frameon=False, fontsize=8, ncols=2)


def panels(
    path: Path, found: Sequence[tuple[str, Series, int | None]], lines: Sequence[Mapping[str, float]], *, columns: int
) -> None:
    """A figure with one panel for each (title, series, trial or None for the mean)."""
    rows = -(-len(found) // columns)
    figure, axes = make_figure(rows, columns, 4.75 * columns, 3.4 * rows)
    for axis, (title, one, trial), dashes in zip(np.ravel(axes), found, lines, strict=False):
        shares(axis, one, dashes, trial=trial)
        axis.set_title(title, fontsize=10)
    for axis in np.ravel(axes)[len(found) :]:
        axis.set_visible(False)
    legend(np.ravel(axes)[0], band=any(trial is None for _, _, trial in found))
    save_figure(figure, path)


def fan(path: Path, found: Sequence[tuple[str, Series]], *, columns: int, uniform: float = 0.5) -> None:
    """The share of alternating games: a thin line for each trial and a thick one for the mean, a panel for each arm."""
    rows = -(-len(found) // columns)
    figure, axes = make_figure(rows, columns, 3.2 * columns, 2.5 * rows)
    for axis, (title, one) in zip(np.ravel(axes), found, strict=False):
        steps, few = one.thinned(POINTS)
        for row in few.column("alternate"):
            axis.plot(steps, row, color=PALETTE[5], lw=0.6)
        axis.plot(steps, few.column("alternate").mean(axis=0), color="black", lw=1.5)
        axis.axhline(uniform, color="0.5", ls=":", lw=1)
        axis.set(ylim=(0, 1), xlim=(0, one.end), xlabel="gradient step", ylabel="alternating")
        axis.set_title(f"{title} ({one.trials} trials)", fontsize=9)
    for axis in np.ravel(axes)[len(found) :]:
        axis.set_visible(False)
    save_figure(figure, path)
