"""Draw learning curves, measures against the varied settings (see results.py), and success against diversity."""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.compare.results import (
    SOLVED,
    Rows,
    by_label,
    can_be_won,
    counts_bonus,
    kl_to_initial,
    success_rate,
    varied,
    varied_settings,
    winning_sequences,
    write_texts,
)
from experiments.compare.variation import value_text
from experiments.plot_style import PALETTE, color_of, make_figure, plot_runs, save_figure

STYLES: Sequence[Any] = ("-", "--", "-.", ":", (0, (1, 3)), (0, (5, 1, 1, 1, 1, 1)))
MARKERS = "osD^vP*Xhp"
PANEL_WIDTH, PANEL_HEIGHT = 4.75, 3.6
SHARE = (-0.02, 1.02)  # limits of an axis that shows a share


def curves_figure(rows: Rows, path: Path) -> None:
    """Draw learning curves against episodes.

    The panels show the measures that apply to the game. If the game names strategies, one panel for each optimizer
    shows the shares of strategies.
    """
    texts = write_texts(rows)
    panels: list[Any] = [("recent_success", "share of the last 100 won", SHARE)] if can_be_won(rows) else []
    panels += [("reward", "reward of a text", (None, None))] if texts else []
    panels += [("bonus_share", "share of turns on the bonus", SHARE)] if counts_bonus(rows) else []
    shares = list(dict.fromkeys(name for row in rows for name in row["curves"] if name.startswith("share_")))
    optimizers = list(dict.fromkeys(row["optimizer"] for row in rows)) if shares else []
    count = len(panels) + 1 + len(optimizers)
    figure, axes = make_figure(1, count, PANEL_WIDTH * count)
    entropy = ("entropy", "entropy, nats per token") if texts else ("turn_entropy", "entropy over commands, nats")
    for axis, (curve, label, limits) in zip(np.ravel(axes), [*panels, (*entropy, (0, None))], strict=False):
        _learning_curves(axis, rows, curve)
        if curve == "recent_success":
            axis.axhline(SOLVED, color="0.6", lw=0.8, ls=":")
        axis.set(xlabel="episodes", ylabel=label, ylim=limits)
    for axis, optimizer in zip(np.ravel(axes)[count - len(optimizers) :], optimizers, strict=True):
        _strategy_shares(axis, [row for row in rows if row["optimizer"] == optimizer], shares, optimizer)
    save_figure(figure, path)


def _learning_curves(axis: Any, rows: Rows, curve: str) -> None:
    """Draw the learning curve `curve` of each group of runs.

    Runs without this curve are left out. For example, a run that learned from recorded play alone has no own episodes,
    and so no curve of wins.
    """
    colors: Counter[Any] = Counter()
    for label, group in by_label([row for row in rows if curve in row["curves"]]).items():
        color = color_of(group[0]["optimizer"])
        style = STYLES[colors[color] % len(STYLES)]
        colors[color] += 1
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
        values = [f"{several * f'{setting} '}{value_text(value)}" for setting, value in varied(row).items()]
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
    """Draw measures of the finished agents against each varied setting (see results.py).

    Each setting has a row of panels, with one panel for each measure. Each dot is a run. On a logarithmic axis, a line
    connects the means. On any other axis, a bar marks each mean. A mean is over all runs with the same value of the
    panel's setting, even if they differ in other settings. If the combinations of settings are sampled (`--samples`),
    it may happen that only one combination has a certain value. Then no line connects the means. If the setting does
    not apply to an optimizer, a dotted horizontal line shows the optimizer's mean.
    """
    settings = varied_settings(rows)
    panels = [("success_rate", "share of episodes won"), ("entropy", "entropy over commands, nats")]
    if counts_bonus(rows):
        panels.insert(1, ("bonus_share", "share of turns on the bonus"))
    figure, axes = make_figure(len(settings), len(panels), PANEL_WIDTH * len(panels), PANEL_HEIGHT * len(settings))
    for (setting, (what, label)), axis in zip(itertools.product(settings, panels), np.ravel(axes), strict=True):
        _sweep_panel(axis, rows, setting, what, label)
    _legend(np.ravel(axes)[0])
    save_figure(figure, path)


def _sweep_panel(axis: Any, rows: Rows, setting: str, what: str, label: str) -> None:
    along, others = ([row for row in rows if (setting in varied(row)) is applies] for applies in (True, False))
    places = positions([varied(row)[setting] for row in along])
    for optimizer in dict.fromkeys(row["optimizer"] for row in along):
        mine = [row for row in along if row["optimizer"] == optimizer]
        for how in ("sampled", "greedy") if what == "success_rate" else ("sampled",):
            _along_sweep(axis, mine, setting, places, how, what)
    for optimizer in dict.fromkeys(row["optimizer"] for row in others):
        values = [_value(row, "sampled", what) for row in others if row["optimizer"] == optimizer]
        axis.axhline(np.mean(values), color=color_of(optimizer), ls=":", lw=1.4, label=f"{optimizer}, sampled")
    axis.set(ylabel=label, ylim=(0, None) if what == "entropy" else SHARE, xlabel=setting)
    if on_log_scale(places):
        axis.set(xscale="log")
    else:
        axis.set_xticks(list(places.values()), [value_text(value) for value in places])
        axis.set(xlim=(-0.4, len(places) - 0.6))


def on_log_scale(values: Iterable[Any]) -> bool:
    """Return whether all values are numbers above 0, so that a logarithmic axis can show them."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) and value > 0 for value in values)


def positions(values: Iterable[Any]) -> dict[Any, float]:
    """Map each value to its position: the value itself on a logarithmic axis, its index on any other axis."""
    unique = list(dict.fromkeys(values))
    scaled = on_log_scale(unique)
    return {value: float(value) if scaled else float(index) for index, value in enumerate(unique)}


def _along_sweep(axis: Any, rows: Rows, setting: str, places: Mapping[Any, float], how: str, what: str) -> None:
    optimizer, (marker, style) = rows[0]["optimizer"], {"sampled": ("o", "-"), "greedy": ("s", "--")}[how]
    color, label = color_of(optimizer), f"{optimizer}, {how}"
    dots = {"mfc": color if how == "sampled" else "none", "color": color, "ms": 4, "ls": "none"}
    x = sorted({places[varied(row)[setting]] for row in rows})
    groups = [[row for row in rows if places[varied(row)[setting]] == place] for place in x]
    runs = [[_value(row, how, what) for row in group] for group in groups]
    for place, values in zip(x, runs, strict=True):
        axis.plot([place] * len(values), values, marker, **dots)
    means = [float(np.mean(values)) for values in runs]
    sampled = len(varied(rows[0])) > 1 and any(len(by_label(group)) == 1 for group in groups)
    if on_log_scale(places) and sampled:
        axis.plot([], [], marker, label=label, **dots)
    elif on_log_scale(places):
        axis.plot(x, means, style, color=color, lw=1.2, label=label)
    else:  # words have no order, so no line connects their means
        axis.plot([], [], marker, label=label, **dots)
        axis.hlines(means, np.array(x) - 0.15, np.array(x) + 0.15, color=color, lw=1.2, ls=style)


def _value(row: Mapping[str, Any], how: str, what: str) -> float:
    """Return the measure `what` of a run's evaluation in the mode `how` ("sampled" or "greedy").

    If the game does not report the measure, return NaN, which is not drawn.
    """
    estimate = row["evaluation"][how][what]
    return math.nan if estimate is None else estimate["value"]


def tradeoff_figure(rows: Rows, path: Path) -> None:
    """Draw the share of episodes won against two measures of the diversity that remains after training.

    The measures are the KL to the initial policy and the effective number of winning command sequences. A small dot
    shows a run, and a large dot shows the mean of a group of runs.
    """
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
