"""The figures of a grid of runs, from its results alone: learning curves, a sweep, and what is left at the end."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.compare.intervals import ABOVE_0, ABOVE_1, Range, over_runs
from experiments.plot_style import PALETTE, color_of, make_figure, save_figure

SOLVED = 0.9
"""Share of the last 100 episodes from which on a game counts as solved."""
STYLES: Sequence[Any] = ("-", "--", "-.", ":", (0, (1, 3)), (0, (5, 1, 1, 1, 1, 1)))
MARKERS = "osD^vP*Xhp"
FEW = 5
"""Most entries of a legend that stands inside its axis."""
HANDLE = 4
"""Length of a legend's lines, in letters: enough to tell dashes apart."""
Rows = Sequence[Mapping[str, Any]]


def winnable(rows: Rows) -> bool:
    """True for games that state a maximum score, or that somebody won."""
    sampled = [row["evaluation"]["sampled"] for row in rows]
    return any(found["normalized_score"] is not None or found["success_rate"]["value"] > 0 for found in sampled)


def curves_figure(rows: Rows, path: Path) -> None:
    """Against episodes, one line a run: success, turns on a bonus where counted, entropy, and shares of strategies."""
    named = [name for name in rows[0]["curves"] if name.startswith("share_")]
    optimizers = list(dict.fromkeys(row["optimizer"] for row in rows)) if named else []
    first = ([_success] if winnable(rows) else []) + ([_bonus] if counts_bonus(rows) else [])
    figure, axes = make_figure(1, len(first) + 1 + len(optimizers), 4.75 * (len(first) + 1 + len(optimizers)))
    panels = list(np.ravel(axes))
    for draw in [*first, _entropy]:
        draw(panels.pop(0), rows)
    for axis, optimizer in zip(panels, optimizers, strict=True):
        _shares(axis, [row for row in rows if row["optimizer"] == optimizer], named, optimizer)
    save_figure(figure, path)


def _success(axis: Any, rows: Rows) -> None:
    _lines(axis, rows, "recent_success")
    axis.axhline(SOLVED, color="0.6", lw=0.8, ls=":")
    axis.set(xlabel="episodes", ylabel="share of the last 100 won", ylim=(-0.02, 1.02))


def _bonus(axis: Any, rows: Rows) -> None:
    _lines(axis, rows, "bonus_share")
    axis.set(xlabel="episodes", ylabel="share of turns on the bonus", ylim=(-0.02, 1.02))


def counts_bonus(rows: Rows) -> bool:
    """True where an act that earns a bonus was counted in every run."""
    return all("bonus_share" in row["curves"] and row["evaluation"]["sampled"].get("bonus_share") for row in rows)


def _entropy(axis: Any, rows: Rows) -> None:
    _lines(axis, rows, "turn_entropy")
    axis.set(xlabel="episodes", ylabel="entropy over commands, nats", ylim=(0, None))


def _lines(axis: Any, rows: Rows, curve: str) -> None:
    """A line a run; where there are several seeds these are thin, and their mean is drawn as far as all have come.

    What has a colour in common differs by its dashes.
    """
    drawn: list[Any] = []
    for label, mine in _groups(rows).items():
        color, several = color_of(mine[0]["optimizer"]), len(mine) > 1
        style = STYLES[drawn.count(color) % len(STYLES)]
        drawn.append(color)
        for row in mine:
            x, y = row["curves"]["episodes"], row["curves"][curve]
            if several:
                axis.plot(x, y, color=color, ls=style, lw=0.6, alpha=0.35)
            else:
                axis.plot(x, y, label=label, color=color, ls=style, lw=1.3)
        if several:
            length = min(len(row["curves"][curve]) for row in mine)
            mean = np.mean([row["curves"][curve][:length] for row in mine], axis=0)
            axis.plot(mine[0]["curves"]["episodes"][:length], mean, label=label, color=color, ls=style, lw=1.8)
    _legend(axis)


def _shares(axis: Any, rows: Rows, named: Sequence[str], title: str) -> None:
    values = list(dict.fromkeys(row["value"] for row in rows))
    for row in rows:
        style = STYLES[values.index(row["value"]) % len(STYLES)]
        for name, color in zip(named, PALETTE, strict=False):
            label = name.removeprefix("share_") + ("" if row["setting"] is None else f", {row['value']}")
            axis.plot(row["curves"]["episodes"], row["curves"][name], color=color, ls=style, lw=1.0, label=label)
    axis.set(xlabel="episodes", ylabel="share of games", ylim=(-0.02, 1.02), title=title)
    _legend(axis)


def _legend(axis: Any) -> None:
    """Each label once, in the axis; many of them once beside the whole figure."""
    handles, labels = axis.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    if len(unique) <= FEW:
        axis.legend(unique.values(), unique.keys(), frameon=False, fontsize=8, handlelength=HANDLE)
    elif not axis.figure.legends:
        axis.figure.legend(
            unique.values(), unique.keys(), frameon=False, fontsize=7, handlelength=HANDLE, loc="outside right center"
        )


def label_of(row: Mapping[str, Any]) -> str:
    """ "actde", or "actde, q_lr 0.1" where a setting was varied."""
    return str(row["optimizer"]) + ("" if row["setting"] is None else f", {row['setting']} {row['value']}")


def _groups(rows: Rows) -> dict[str, list[Mapping[str, Any]]]:
    """The runs of each optimizer and value, by their label."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(label_of(row), []).append(row)
    return groups


def sweep_figure(results: Mapping[str, Any], path: Path) -> None:
    """Success (sampled and greedy), turns on a bonus and entropy against the setting.

    A dot a run and a line of means, or bars on words. Optimizers that the setting does not concern are dotted lines
    across, at the mean of their sampled runs.
    """
    rows = [row for row in results["runs"] if row["setting"]]
    panels = [("success_rate", "share of episodes won"), ("entropy", "entropy over commands, nats")]
    if counts_bonus(results["runs"]):
        panels.insert(1, ("bonus_share", "share of turns on the bonus"))
    figure, axes = make_figure(1, len(panels), 4.75 * len(panels))
    places = positions([row["value"] for row in rows])
    ways = (("sampled", "o", "-"), ("greedy", "s", "--"))
    for axis, (what, label) in zip(axes, panels, strict=True):
        for optimizer in dict.fromkeys(row["optimizer"] for row in rows):
            mine = [row for row in rows if row["optimizer"] == optimizer]
            for how, marker, style in ways if what == "success_rate" else ways[:1]:
                _points(axis, mine, places, how, what, color_of(optimizer), marker, style, f"{optimizer}, {how}")
        others = [row for row in results["runs"] if not row["setting"]]
        for optimizer in dict.fromkeys(row["optimizer"] for row in others):
            found = [row["evaluation"]["sampled"][what]["value"] for row in others if row["optimizer"] == optimizer]
            axis.axhline(np.mean(found), color=color_of(optimizer), ls=":", lw=1.4, label=f"{optimizer}, sampled")
        axis.set(ylabel=label, ylim=(0, None) if what == "entropy" else (-0.02, 1.02), xlabel=rows[0]["setting"])
        if on_a_scale(places):
            axis.set(xscale="log")
        else:
            axis.set_xticks(list(places.values()), [str(value) for value in places])
            axis.set(xlim=(-0.4, len(places) - 0.6))
    _legend(axes[0])
    save_figure(figure, path)


def on_a_scale(values: Iterable[Any]) -> bool:
    """True where all are numbers above 0, which have a place on a logarithmic axis."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) and value > 0 for value in values)


def positions(values: Iterable[Any]) -> dict[Any, float]:
    """Where along the axis each value stands: numbers above 0 where they are, anything else side by side."""
    found = list(dict.fromkeys(values))
    scaled = on_a_scale(found)
    return {value: float(value) if scaled else float(place) for place, value in enumerate(found)}


def _points(
    axis: Any,
    rows: Iterable[Mapping[str, Any]],
    places: Mapping[Any, float],
    how: str,
    what: str,
    color: str | None,
    marker: str,
    style: str,
    label: str,
) -> None:
    found: dict[float, list[float]] = {}
    for row in rows:
        found.setdefault(places[row["value"]], []).append(row["evaluation"][how][what]["value"])
    x = sorted(found)
    fill = color if style == "-" else "none"
    for value in x:
        axis.plot([value] * len(found[value]), found[value], marker, mfc=fill, color=color, ms=4, ls="none")
    means = [float(np.mean(found[value])) for value in x]
    if on_a_scale(places):
        axis.plot(x, means, style, color=color, lw=1.2, label=label)
    else:  # nothing lies between two words
        axis.plot([], [], marker, mfc=fill, color=color, ms=4, ls="none", label=label)
        axis.hlines(means, np.array(x) - 0.15, np.array(x) + 0.15, color=color, lw=1.2, ls=style)


def kept_figure(rows: Rows, path: Path) -> None:
    """What success costs: the share won against the KL to the first policy, and against what is left of many ways.

    A dot a run, and for each optimizer and value the mean of its runs as a larger mark. Up is better; to the left, and
    in the second panel to the right, more is kept of the first policy.
    """
    figure, axes = make_figure()
    panels = ((axes[0], kl_to_first, "KL to the first policy, nats per decision"),
              (axes[1], winning_sequences, "effective number of winning sequences"))  # fmt: skip
    groups = _groups(rows)
    for axis, measure, label in panels:
        for marker, (name, mine) in zip(itertools.cycle(MARKERS), groups.items(), strict=False):
            found = [(x, _won(row)) for row in mine if (x := measure(row["collapse"])) is not None]
            if found:
                x, y = np.array(found).T
                color = color_of(mine[0]["optimizer"])
                axis.plot(x, y, marker, color=color, ms=3.5, ls="none", alpha=0.45)
                axis.plot(x.mean(), y.mean(), marker, color=color, ms=8, mec="0.2", ls="none", label=name)
        axis.set(xlabel=label, ylabel="share of episodes won, sampled", ylim=(-0.02, 1.04))
    _legend(axes[0])
    save_figure(figure, path)


def kl_to_first(measured: Mapping[str, Any]) -> float | None:
    """Nats per decision."""
    found: float | None = measured["kl_initial"]
    return found


def winning_sequences(measured: Mapping[str, Any]) -> float | None:
    """Their effective number in a game that was won; None where none was, or where it was not counted."""
    found: float | None = measured["wins"] and measured["wins"].get("effective")
    return found


def _won(row: Mapping[str, Any]) -> float:
    won: float = row["evaluation"]["sampled"]["success_rate"]["value"]
    return won


# -- collapse ----------------------------------------------------------------------------------------------

Measure = Callable[[Mapping[str, Any]], float | None]


def strategies_number(measured: Mapping[str, Any]) -> float | None:
    """The effective number of strategies: from the policy where that is known, else counted."""
    found = measured["strategies"]
    counted = found["counted"]
    number: float | None = found["policy"] if found["policy"] is not None else counted and counted["value"]
    return number


def _tilted(key: str) -> Measure:
    return lambda measured: measured["tilted"] and measured["tilted"][key]


PANELS: Sequence[tuple[str, Measure, Measure | None]] = (
    ("entropy,\nnats per decision", lambda measured: measured["entropy"], None),
    ("KL to the first policy,\nnats per decision", lambda measured: measured["kl_initial"], None),
    ("KL to $\\pi_0\\, e^{q/\\tau}$,\nnats per decision", _tilted("best_kl"), _tilted("kl")),
    ("effective number\nof strategies", strategies_number, None),
)
"""Label, what is drawn filled and, hollow beside it, another reading of it."""


def collapse_figure(rows: Rows, path: Path) -> None:
    """One panel a measure: for each optimizer and value a dot a run, and the mean with its 95% interval over seeds."""
    groups = _groups(rows)
    panels = [panel for panel in PANELS if any(panel[1](row["collapse"]) is not None for row in rows)]
    figure, axes = make_figure(1, len(panels), 3.2 * len(panels), 3.4)
    for axis, panel in zip(np.ravel(axes), panels, strict=True):
        _panel(axis, groups, *panel)
    save_figure(figure, path)


def _panel(axis: Any, groups: Mapping[str, Rows], label: str, measure: Measure, other: Measure | None) -> None:
    """One measure of all groups, side by side; with another reading of it, that one hollow on the right."""
    within = ABOVE_1 if measure is strategies_number else ABOVE_0
    both = other is not None and any(_values(rows, other) for rows in groups.values())
    for place, rows in enumerate(groups.values()):
        color = color_of(rows[0]["optimizer"]) or "0.3"
        _dots(axis, place - (0.2 if both else 0.0), _values(rows, measure), color, within, filled=True)
        if both and other:
            _dots(axis, place + 0.2, _values(rows, other), color, within, filled=False)
        if not _values(rows, measure):
            axis.text(place, 0.02, "none", color="0.5", fontsize=8, ha="center", transform=axis.get_xaxis_transform())
    if both:
        for fill, text in (("0.3", "$\\tau$ that fits best"), ("none", "$\\tau$ of the step sizes")):
            axis.plot([], [], "o", mfc=fill, color="0.3", ms=4, ls="none", label=text)
        axis.legend(frameon=False, fontsize=8)
    axis.set(ylabel=label, xlim=(-0.6, len(groups) - 0.4), ylim=(within[0], None))
    if measure is strategies_number and max(value for rows in groups.values() for value in _values(rows, measure)) > 50:
        axis.set_yscale("log")
    names = [name.replace(", ", "\n") for name in groups]
    crowded = max(len(line) for name in names for line in name.split("\n")) * len(groups) > 36
    axis.set_xticks(range(len(groups)), names, rotation=90 if crowded else 0, fontsize=8)


def _values(rows: Rows, measure: Measure) -> list[float]:
    found = [measure(row["collapse"]) for row in rows]
    return [value for value in found if value is not None]


def _dots(axis: Any, place: float, values: Sequence[float], color: str, within: Range, *, filled: bool) -> None:
    """The values side by side in a narrow column, their mean as a bar with its interval beside it."""
    found = over_runs(values, within)
    if found is None:
        return
    x = place - 0.08 + np.linspace(-0.06, 0.06, len(values))
    axis.plot(x, values, "o", color=color, mfc=color if filled else "none", ms=3.5, ls="none", alpha=0.7, clip_on=False)
    axis.plot([place + 0.02, place + 0.18], [found.value] * 2, color=color, lw=1.6, clip_on=False)
    if found.low is not None:
        axis.plot([place + 0.1] * 2, [found.low, found.high], color=color, lw=1.0)
