"""Draw the measures of collapse (see measure.py) for a grid of runs, with 95% confidence intervals over seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.compare.intervals import ABOVE_0, ABOVE_1, Range, over_runs
from experiments.compare.results import (
    Measure,
    Rows,
    by_label,
    effective_strategies,
    kl_to_initial,
    number_at,
    values_of,
)
from experiments.plot_style import color_of, make_figure, save_figure

# Label, measure (filled dots), alternative measure (hollow dots on their right) or None, and range of the measures.
PANELS: Sequence[tuple[str, Measure, Measure | None, Range]] = (
    ("entropy,\nnats per decision", number_at("collapse", "entropy"), None, ABOVE_0),
    ("KL to the first policy,\nnats per decision", kl_to_initial, None, ABOVE_0),
    ("KL to $\\pi_0\\, e^{q/\\tau}$,\nnats per decision", number_at("collapse", "tilted", "best_kl"),
     number_at("collapse", "tilted", "kl"), ABOVE_0),
    ("effective number\nof strategies", effective_strategies, None, ABOVE_1),
)  # fmt: skip


def collapse_figure(rows: Rows, path: Path) -> None:
    """Draw a panel for each measure. Dots are runs, and lines are the means of groups with confidence intervals."""
    panels = [panel for panel in PANELS if values_of(rows, panel[1])]
    figure, axes = make_figure(1, len(panels), 3.2 * len(panels), 3.4)
    for axis, panel in zip(np.ravel(axes), panels, strict=True):
        _panel(axis, by_label(rows), *panel)
    save_figure(figure, path)


def _panel(
    axis: Any, groups: Mapping[str, Rows], label: str, measure: Measure, other: Measure | None, within: Range
) -> None:
    others = [values_of(rows, other) if other else [] for rows in groups.values()]
    both = any(others)
    for place, (rows, second) in enumerate(zip(groups.values(), others, strict=True)):
        color, values = color_of(rows[0]["optimizer"]) or "0.3", values_of(rows, measure)
        _dots(axis, place - (0.2 if both else 0.0), values, color, within, filled=True)
        _dots(axis, place + 0.2, second, color, within, filled=False)
        if not values:
            axis.text(place, 0.02, "none", color="0.5", fontsize=8, ha="center", transform=axis.get_xaxis_transform())
    if both:
        for fill, text in (("0.3", "$\\tau$ that fits best"), ("none", "$\\tau$ of the step sizes")):
            axis.plot([], [], "o", mfc=fill, color="0.3", ms=4, ls="none", label=text)
        axis.legend(frameon=False, fontsize=8)
    axis.set(ylabel=label, xlim=(-0.6, len(groups) - 0.4), ylim=(within[0], None))
    if within is ABOVE_1 and max(value for rows in groups.values() for value in values_of(rows, measure)) > 50:
        axis.set_yscale("log")
    names = [name.replace(", ", "\n") for name in groups]
    crowded = max(len(line) for name in names for line in name.split("\n")) * len(groups) > 36
    axis.set_xticks(range(len(groups)), names, rotation=90 if crowded else 0, fontsize=8)


def _dots(axis: Any, place: float, values: Sequence[float], color: str, within: Range, *, filled: bool) -> None:
    mean = over_runs(values, within)
    if mean is None:
        return
    x = place - 0.08 + np.linspace(-0.06, 0.06, len(values))
    axis.plot(x, values, "o", color=color, mfc=color if filled else "none", ms=3.5, ls="none", alpha=0.7, clip_on=False)
    axis.plot([place + 0.02, place + 0.18], [mean.value] * 2, color=color, lw=1.6, clip_on=False)
    if mean.low is not None:
        axis.plot([place + 0.1] * 2, [mean.low, mean.high], color=color, lw=1.0)
