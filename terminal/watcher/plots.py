"""Plots of v, q and reward over an episode, made of block characters."""

import math
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from agents.play.episode import Episode
from terminal.display import number

BLOCKS = " ▁▂▃▄▅▆▇█"
HEIGHT = 4  # lines of a plot, without its title
MAX_BAR = 4  # columns of a bar
COLOURS = {"v": "cyan", "q": "magenta", "reward": "green"}
CURRENT = "yellow"  # colour of the bars of the current turn


class Series(NamedTuple):
    """The points of an episode's plots. A point is a turn, or a token of a written text."""

    turns: list[int]
    values: dict[str, list[float | None]]


def series(episode: Episode) -> Series:
    turns, values = list[int](), {name: list[float | None]() for name in COLOURS}
    for turn, step in enumerate(episode.steps):
        decision, count = step.decision, max(1, len(step.decision.tokens))
        turns += [turn] * count
        values["v"] += [token.value for token in decision.tokens] or [decision.value]
        values["q"] += [token.q_value for token in decision.tokens] or [decision.q_values.get(decision.command)]
        values["reward"] += [0.0] * (count - 1) + [step.reward]
    return Series(turns, values)


def plots(points: Series, turn: int, width: int) -> RenderableType:
    """Return the plots side by side, with the bars of `turn` highlighted."""
    known = {name: values for name, values in points.values.items() if any(value is not None for value in values)}
    each = (width - 2 * (len(known) - 1)) // len(known)
    grid = Table.grid(*(Column(width=each, no_wrap=True) for _ in known), padding=(0, 2))
    current = [index for index, other in enumerate(points.turns) if other == turn]
    grid.add_row(*(_plot(name, values, current, each) for name, values in known.items()))
    return grid


def _plot(name: str, values: Sequence[float | None], current: Sequence[int], width: int) -> RenderableType:
    given = [value for value in values if value is not None]
    title = Text.assemble(
        (name, f"bold {COLOURS[name]}"), (f"  {number(min(given))} to {number(max(given))}", "dim"), no_wrap=True
    )
    return Group(title, *bars(values, current, width, COLOURS[name]))


def bars(values: Sequence[float | None], current: Sequence[int], width: int, colour: str) -> list[Text]:
    """Return the lines of a bar chart. Bars of the indices `current` are highlighted."""
    step = max(1, math.ceil(len(values) / width))
    bins = [range(start, min(start + step, len(values))) for start in range(0, len(values), step)]
    # each bar shows the value farthest from 0 in its bin
    shown = [max((values[i] or 0.0 for i in each), key=abs) for each in bins]
    bar = min(MAX_BAR, width // len(bins))
    top, bottom = max(0.0, *shown, 0.0), -min(0.0, *shown, 0.0)
    below = round(HEIGHT * bottom / (top + bottom)) if bottom else 0  # lines below the zero line
    if top and bottom:
        below = min(HEIGHT - 1, max(1, below))
    unit = max(top / max(1, HEIGHT - below), bottom / max(1, below)) or 1.0  # value of one line
    gap = " " if bar > 2 else ""
    lines = []
    for row in range(HEIGHT - 1, -1, -1):
        cells = list[tuple[str, str]]()
        for value, each in zip(shown, bins, strict=True):
            highlighted = any(index in each for index in current)
            block, style = _cell(value / unit, row - below)
            cells.append((block * (bar - len(gap)), f"{CURRENT if highlighted else colour} {style}"))
            cells += [(gap, "" if style == "reverse" else cells[-1][1])] if gap else []
        line = Text(no_wrap=True)
        for style, same in groupby(cells, key=itemgetter(1)):
            line.append("".join(text for text, _ in same), style)
        lines.append(line)
    return lines


def _cell(height: float, row: int) -> tuple[str, str]:
    """Return (block character, style) of one row of a bar. Row 0 is right above the zero line."""
    if row >= 0:
        eighths = max(min(round(8 * (height - row)), 8), 1 if row == 0 else 0)
        return BLOCKS[eighths], "" if height else "dim"
    eighths = min(max(round(8 * (row + 1 - height)), 0), 8)
    # blocks fill a cell from below, so reverse video draws the empty part
    return (BLOCKS[8 - eighths], "reverse") if eighths else (" ", "")
