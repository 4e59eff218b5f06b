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
CURRENT_COLOUR = "yellow"  # colour of the bars of the current turn


class Series(NamedTuple):
    """The plotted values of an episode: one per turn or, for written texts, one per token."""

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


def plots(episode_series: Series, turn: int, width: int) -> RenderableType:
    """Return the plots side by side, with the bars of `turn` highlighted."""
    values_by_name = {
        name: values for name, values in episode_series.values.items() if any(value is not None for value in values)
    }
    plot_width = (width - 2 * (len(values_by_name) - 1)) // len(values_by_name)
    grid = Table.grid(*(Column(width=plot_width, no_wrap=True) for _ in values_by_name), padding=(0, 2))
    current = [index for index, point_turn in enumerate(episode_series.turns) if point_turn == turn]
    grid.add_row(*(_plot(name, values, current, plot_width) for name, values in values_by_name.items()))
    return grid


def _plot(name: str, values: Sequence[float | None], current: Sequence[int], width: int) -> RenderableType:
    known = [value for value in values if value is not None]
    title = Text.assemble(
        (name, f"bold {COLOURS[name]}"), (f"  {number(min(known))} to {number(max(known))}", "dim"), no_wrap=True
    )
    return Group(title, *bars(values, current, width, COLOURS[name]))


def bars(values: Sequence[float | None], current: Sequence[int], width: int, colour: str) -> list[Text]:
    """Return the lines of a bar chart. Bars that contain an index in `current` are highlighted."""
    step = max(1, math.ceil(len(values) / width))
    bins = [range(start, min(start + step, len(values))) for start in range(0, len(values), step)]
    # each bar shows the value farthest from 0 in its bin
    heights = [max((values[i] or 0.0 for i in indices), key=abs) for indices in bins]
    bar_width = min(MAX_BAR, width // len(bins))
    top, bottom = max(0.0, *heights, 0.0), -min(0.0, *heights, 0.0)
    below = round(HEIGHT * bottom / (top + bottom)) if bottom else 0  # lines below the zero line
    if top and bottom:
        below = min(HEIGHT - 1, max(1, below))
    unit = max(top / max(1, HEIGHT - below), bottom / max(1, below)) or 1.0  # value of one line
    gap = " " if bar_width > 2 else ""
    lines = []
    for row in range(HEIGHT - 1, -1, -1):
        cells = list[tuple[str, str]]()
        for value, indices in zip(heights, bins, strict=True):
            highlighted = any(index in indices for index in current)
            block, style = _cell(value / unit, row - below)
            cells.append((block * (bar_width - len(gap)), f"{CURRENT_COLOUR if highlighted else colour} {style}"))
            cells += [(gap, "" if style == "reverse" else cells[-1][1])] if gap else []
        line = Text(no_wrap=True)
        for style, group in groupby(cells, key=itemgetter(1)):
            line.append("".join(text for text, _ in group), style)
        lines.append(line)
    return lines


def _cell(height: float, row: int) -> tuple[str, str]:
    """Return the character and style of a bar in one row. Row 0 is just above the zero line."""
    if row >= 0:
        eighths = max(min(round(8 * (height - row)), 8), 1 if row == 0 else 0)
        return BLOCKS[eighths], "" if height else "dim"
    eighths = min(max(round(8 * (row + 1 - height)), 0), 8)
    # blocks fill a cell from below, so reverse video draws the empty part
    return (BLOCKS[8 - eighths], "reverse") if eighths else (" ", "")
