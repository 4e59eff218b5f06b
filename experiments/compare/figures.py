"""Draw the figures of a grid of runs."""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.compare.intervals import ABOVE_0, ABOVE_1, Range, mean_over_runs
from experiments.compare.results import (
    SOLVED,
    Measure,
    Rows,
    by_label,
    can_be_won,
    counts_bonus,
    effective_strategies,
    kl_to_initial,
    number_at,
    setting_values,
    success_rate,
    values_of,
    varied_settings,
    winning_sequences,
    write_texts,
)
from experiments.compare.runs import value_text
from experiments.plot_style import PALETTE, color_of, make_figure, plot_runs, save_figure

STYLES: Sequence[Any] = ("-", "--", "-.", ":", (0, (1, 3)), (0, (5, 1, 1, 1, 1, 1)))
MARKERS = "osD^vP*Xhp"
PANEL_WIDTH, PANEL_HEIGHT = 4.75, 3.6
SHARE = (-0.02, 1.02)  # limits of an axis that shows a share
# Label, measure (filled dots), alternative measure (hollow dots on their right) or None, and range of the measures.
PANELS: Sequence[tuple[str, Measure, Measure | None, Range]] = (
    ("entropy,\nnats per decision", number_at("collapse", "entropy"), None, ABOVE_0),
    ("KL to the first policy,\nnats per decision", kl_to_initial, None, ABOVE_0),
    ("KL to $\\pi_0\\, e^{q/\\tau}$,\nnats per decision", number_at("collapse", "tilted", "best_kl"),
     number_at("collapse", "tilted", "kl"), ABOVE_0),
    ("effective number\nof strategies", effective_strategies, None, ABOVE_1),
)  # fmt: skip


def curves_figure(rows: Rows, path: Path) -> None:
    """Draw the learning curves, and the shares of the game's strategies."""
    texts = write_texts(rows)
    applicable: list[tuple[bool, str, str, Any]] = [
        (can_be_won(rows), "recent_success", "share of the last 100 won", SHARE),
        (texts, "reward", "reward of a text", (None, None)),
        (counts_bonus(rows), "bonus_share", "share of turns on the bonus", SHARE),
        (texts, "entropy", "entropy, nats per token", (0, None)),
        (not texts, "turn_entropy", "entropy over commands, nats", (0, None)),
    ]
    panels = [panel for applies, *panel in applicable if applies]
    shares = list(dict.fromkeys(name for row in rows for name in row["curves"] if name.startswith("share_")))
    optimizers = list(dict.fromkeys(row["optimizer"] for row in rows)) if shares else []
    count = len(panels) + len(optimizers)
    figure, axes = make_figure(1, count, PANEL_WIDTH * count)
    for axis, (curve, label, limits) in zip(np.ravel(axes), panels, strict=False):
        _learning_curves(axis, rows, curve)
        if curve == "recent_success":
            axis.axhline(SOLVED, color="0.6", lw=0.8, ls=":")
        axis.set(xlabel="episodes", ylabel=label, ylim=limits)
    for axis, optimizer in zip(np.ravel(axes)[count - len(optimizers) :], optimizers, strict=True):
        _strategy_shares(axis, [row for row in rows if row["optimizer"] == optimizer], shares, optimizer)
    save_figure(figure, path)


def _learning_curves(axis: Any, rows: Rows, curve: str) -> None:
    color_counts: Counter[Any] = Counter()
    for label, group in by_label([row for row in rows if curve in row["curves"]]).items():
        color = color_of(group[0]["optimizer"])
        style = STYLES[color_counts[color] % len(STYLES)]
        color_counts[color] += 1
        x, y = ([row["curves"][name] for row in group] for name in ("episodes", curve))
        if len(group) > 1:
            plot_runs(axis, x, y, label=label, color=color, style=style)
        else:
            axis.plot(x[0], np.asarray(y[0], dtype=float), label=label, color=color, ls=style, lw=1.3)
    _legend(axis)


def _strategy_shares(axis: Any, rows: Rows, shares: Sequence[str], title: str) -> None:
    several = len(varied_settings(rows)) > 1
    groups = list(by_label(rows))
    for row in rows:
        (label,) = by_label([row])
        style = STYLES[groups.index(label) % len(STYLES)]
        values = [f"{several * f'{setting} '}{value_text(value)}" for setting, value in setting_values(row).items()]
        for name, color in zip(shares if shares[0] in row["curves"] else (), PALETTE, strict=False):
            label = ", ".join([name.removeprefix("share_"), *values])
            axis.plot(row["curves"]["episodes"], row["curves"][name], color=color, ls=style, lw=1.0, label=label)
    axis.set(xlabel="episodes", ylabel="share of games", ylim=SHARE, title=title)
    _legend(axis)


def _legend(axis: Any) -> None:
    handles, labels = axis.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))  # a long legend is drawn beside the whole figure
    entries, style = (unique.values(), unique.keys()), {"frameon": False, "handlelength": 4}  # to tell dashes apart
    if len(unique) <= 5:
        axis.legend(*entries, fontsize=8, **style)
    elif not axis.figure.legends:
        axis.figure.legend(*entries, fontsize=7, loc="outside right center", **style)


def sweep_figure(rows: Rows, path: Path) -> None:
    """Draw measures of the finished agents against each varied setting. Dots are runs, and lines are means."""
    settings = varied_settings(rows)
    panels = [("success_rate", "share of episodes won"), ("entropy", "entropy over commands, nats")]
    if counts_bonus(rows):
        panels.insert(1, ("bonus_share", "share of turns on the bonus"))
    figure, axes = make_figure(len(settings), len(panels), PANEL_WIDTH * len(panels), PANEL_HEIGHT * len(settings))
    for (setting, (metric, label)), axis in zip(itertools.product(settings, panels), np.ravel(axes), strict=True):
        _sweep_panel(axis, rows, setting, metric, label)
    _legend(np.ravel(axes)[0])
    save_figure(figure, path)


def _sweep_panel(axis: Any, rows: Rows, setting: str, metric: str, label: str) -> None:
    varied_rows, other_rows = (
        [row for row in rows if (setting in setting_values(row)) is is_varied] for is_varied in (True, False)
    )
    axis_positions = positions([setting_values(row)[setting] for row in varied_rows])
    for optimizer in dict.fromkeys(row["optimizer"] for row in varied_rows):
        optimizer_rows = [row for row in varied_rows if row["optimizer"] == optimizer]
        for mode in ("sampled", "greedy") if metric == "success_rate" else ("sampled",):
            _sweep_dots(axis, optimizer_rows, setting, axis_positions, mode, metric)
    # optimizers to which the setting does not apply
    for optimizer in dict.fromkeys(row["optimizer"] for row in other_rows):
        values = [_value(row, "sampled", metric) for row in other_rows if row["optimizer"] == optimizer]
        axis.axhline(np.mean(values), color=color_of(optimizer), ls=":", lw=1.4, label=f"{optimizer}, sampled")
    axis.set(ylabel=label, ylim=(0, None) if metric == "entropy" else SHARE, xlabel=setting)
    if fits_log_scale(axis_positions):
        axis.set(xscale="log")
    else:
        axis.set_xticks(list(axis_positions.values()), [value_text(value) for value in axis_positions])
        axis.set(xlim=(-0.4, len(axis_positions) - 0.6))


def fits_log_scale(values: Iterable[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) and value > 0 for value in values)


def positions(values: Iterable[Any]) -> dict[Any, float]:
    """Return a dict: value -> position on the axis."""
    unique = dict.fromkeys(values)
    scaled = fits_log_scale(unique)
    return {value: float(value if scaled else index) for index, value in enumerate(unique)}


def _sweep_dots(
    axis: Any, rows: Rows, setting: str, axis_positions: Mapping[Any, float], mode: str, metric: str
) -> None:
    optimizer, (marker, style) = rows[0]["optimizer"], {"sampled": ("o", "-"), "greedy": ("s", "--")}[mode]
    color, label = color_of(optimizer), f"{optimizer}, {mode}"
    dots = {"mfc": color if mode == "sampled" else "none", "color": color, "ms": 4, "ls": "none"}
    x = sorted({axis_positions[setting_values(row)[setting]] for row in rows})
    groups = [[row for row in rows if axis_positions[setting_values(row)[setting]] == position] for position in x]
    runs = [[_value(row, mode, metric) for row in group] for group in groups]
    for position, values in zip(x, runs, strict=True):
        axis.plot([position] * len(values), values, marker, **dots)
    means = [float(np.mean(values)) for values in runs]
    sampled = len(setting_values(rows[0])) > 1 and any(len(by_label(group)) == 1 for group in groups)
    if fits_log_scale(axis_positions) and sampled:
        axis.plot([], [], marker, label=label, **dots)
    elif fits_log_scale(axis_positions):
        axis.plot(x, means, style, color=color, lw=1.2, label=label)
    else:  # words have no order, so no line connects their means
        axis.plot([], [], marker, label=label, **dots)
        axis.hlines(means, np.array(x) - 0.15, np.array(x) + 0.15, color=color, lw=1.2, ls=style)


def _value(row: Mapping[str, Any], mode: str, metric: str) -> float:
    estimate = row["evaluation"][mode][metric]
    return math.nan if estimate is None else estimate["value"]


def tradeoff_figure(rows: Rows, path: Path) -> None:
    """Draw the share of episodes won against two measures of diversity."""
    figure, axes = make_figure()
    panels = ((kl_to_initial, "KL to the first policy, nats per decision"),
              (winning_sequences, "effective number of winning sequences"))  # fmt: skip
    for axis, (measure, label) in zip(axes, panels, strict=True):
        for marker, (name, group) in zip(itertools.cycle(MARKERS), by_label(rows).items(), strict=False):
            points = [point for row in group if None not in (point := (measure(row), success_rate(row)))]
            if points:
                x, y = np.array(points).T
                color = color_of(group[0]["optimizer"])
                axis.plot(x, y, marker, color=color, ms=3.5, ls="none", alpha=0.45)
                axis.plot(x.mean(), y.mean(), marker, color=color, ms=8, mec="0.2", ls="none", label=name)
        axis.set(xlabel=label, ylabel="share of episodes won, sampled", ylim=(-0.02, 1.04))
    _legend(axes[0])
    save_figure(figure, path)


def collapse_figure(rows: Rows, path: Path) -> None:
    """Draw one panel per measure of diversity: values, means, and confidence intervals of the means."""
    panels = [panel for panel in PANELS if values_of(rows, panel[1])]
    figure, axes = make_figure(1, len(panels), 3.2 * len(panels), 3.4)
    for axis, panel in zip(np.ravel(axes), panels, strict=True):
        _collapse_panel(axis, by_label(rows), *panel)
    save_figure(figure, path)


def _collapse_panel(
    axis: Any, groups: Mapping[str, Rows], label: str, measure: Measure, alternative: Measure | None, value_range: Range
) -> None:
    alternative_values = [values_of(rows, alternative) if alternative else [] for rows in groups.values()]
    has_alternatives = any(alternative_values)
    for position, (rows, hollow_values) in enumerate(zip(groups.values(), alternative_values, strict=True)):
        color, values = color_of(rows[0]["optimizer"]) or "0.3", values_of(rows, measure)
        _dots(axis, position - (0.2 if has_alternatives else 0.0), values, color, value_range, filled=True)
        _dots(axis, position + 0.2, hollow_values, color, value_range, filled=False)
        if not values:
            axis.text(
                position, 0.02, "none", color="0.5", fontsize=8, ha="center", transform=axis.get_xaxis_transform()
            )
    if has_alternatives:
        for fill, text in (("0.3", "$\\tau$ that fits best"), ("none", "$\\tau$ of the step sizes")):
            axis.plot([], [], "o", mfc=fill, color="0.3", ms=4, ls="none", label=text)
        axis.legend(frameon=False, fontsize=8)
    axis.set(ylabel=label, xlim=(-0.6, len(groups) - 0.4), ylim=(value_range[0], None))
    if value_range is ABOVE_1 and max(value for rows in groups.values() for value in values_of(rows, measure)) > 50:
        axis.set_yscale("log")
    names = [name.replace(", ", "\n") for name in groups]
    crowded = max(len(line) for name in names for line in name.split("\n")) * len(groups) > 36
    axis.set_xticks(range(len(groups)), names, rotation=90 if crowded else 0, fontsize=8)


def _dots(axis: Any, position: float, values: Sequence[float], color: str, value_range: Range, *, filled: bool) -> None:
    mean = mean_over_runs(values, value_range)
    if mean is None:
        return
    x = position - 0.08 + np.linspace(-0.06, 0.06, len(values))
    axis.plot(x, values, "o", color=color, mfc=color if filled else "none", ms=3.5, ls="none", alpha=0.7, clip_on=False)
    axis.plot([position + 0.02, position + 0.18], [mean.value] * 2, color=color, lw=1.6, clip_on=False)
    if mean.low is not None:
        axis.plot([position + 0.1] * 2, [mean.low, mean.high], color=color, lw=1.0)
