"""The map of a game as a rich renderable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from games.textworld.maps import STEPS, Map, Passage, load_map
from terminal.display import printable

if TYPE_CHECKING:
    from games.textworld.generation.manifest import ManifestEntry

HEIGHT = 4
"""Lines from one row of boxes to the next, of which three are the box."""
DOORS = {"open": "□", "closed": "■", "locked": "╳"}
WAY, QUIET, DOOR = "bold green", "dim", "bold yellow"


class MapView:
    """A map that adapts to the terminal's width: boxes with names, or with numbers if names do not fit."""

    def __init__(self, drawn: Map, title: str) -> None:
        self._map, self._title = drawn, title
        self._numbers = {key: str(at + 1) for at, key in enumerate(drawn.rooms)}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(printable(self._title), style="bold")
        columns = 1 + max(room.cell[0] for room in self._map.rooms.values())
        names = {key: f"{self._numbers[key]} {printable(room.name)}" for key, room in self._map.rooms.items()}
        longest = 4 + max(len(name) for name in names.values())
        gap, width = 3, min(longest, (options.max_width + 3) // columns - 3)
        if width < min(longest, 12):
            gap, width, names = 1, 4 + max(len(number) for number in self._numbers.values()), self._numbers
        if columns * (width + gap) - gap > options.max_width:
            yield Text(f"(a map {columns} rooms wide does not fit into this terminal)", style=QUIET)
        else:
            yield from self._drawing(width, gap, names)
        yield from self._legend()

    def _drawing(self, width: int, gap: int, names: dict[str, str]) -> Iterator[Text]:
        rows = 1 + max(room.cell[1] for room in self._map.rooms.values())
        columns = 1 + max(room.cell[0] for room in self._map.rooms.values())
        canvas = _Canvas(columns * (width + gap), rows * HEIGHT - 1)
        for passage in self._map.passages:
            self._passage(canvas, passage, width, gap)
        for key, room in self._map.rooms.items():
            left, top = room.cell[0] * (width + gap), room.cell[1] * HEIGHT
            style = WAY if key in self._map.route else QUIET
            horizontal, (a, b, c, d, side) = ("═", "╔╗╚╝║") if key == self._map.start else ("─", "┌┐└┘│")
            name = names[key] if len(names[key]) <= width - 4 else names[key][: width - 5] + "…"
            canvas.write(left, top, a + horizontal * (width - 2) + b, style)
            canvas.write(left, top + 1, f"{side} {name:^{width - 4}} {side}", style)
            canvas.write(left, top + 2, c + horizontal * (width - 2) + d, style)
        yield from canvas.lines()

    def _passage(self, canvas: _Canvas, passage: Passage, width: int, gap: int) -> None:
        """A straight line between two boxes, with its door in the middle. The legend lists bent passages."""
        (x, y), (u, v) = (self._map.rooms[key].cell for key in passage.rooms)
        style = WAY if _is_walked(self._map, passage) else QUIET
        if _is_bent(self._map, passage):
            return
        if y == v:
            left, right = min(x, u) * (width + gap) + width, max(x, u) * (width + gap)
            canvas.write(left, y * HEIGHT + 1, "─" * (right - left), style)
            at = ((left + right) // 2, y * HEIGHT + 1)
        else:
            column, top, bottom = x * (width + gap) + width // 2, min(y, v) * HEIGHT + 3, max(y, v) * HEIGHT
            for line in range(top, bottom):
                canvas.write(column, line, "│", style)
            at = (column, (top + bottom) // 2)
        if passage.door:
            canvas.write(*at, DOORS[passage.state], DOOR)

    def _legend(self) -> Iterator[Text]:
        """Things, doors, bent passages and the walkthrough."""
        for key, room in self._map.rooms.items():
            here = "; ".join(room.things)
            start = " (the player starts here)" if key == self._map.start else ""
            if here or start:
                yield Text(printable(f"{self._numbers[key]:>3} {room.name}{start}{': ' if here else ''}{here}"))
        if self._map.carried:
            yield Text(printable(f"  carried: {'; '.join(self._map.carried)}"))
        for passage in self._map.passages:
            one, other = (f"{self._numbers[key]} {self._map.rooms[key].name}" for key in passage.rooms)
            if passage.door:
                door = f"  {DOORS[passage.state]} {passage.door} ({passage.state}): {one} - {other}"
                yield Text(printable(door), style=DOOR)
            if _is_bent(self._map, passage):
                yield Text(printable(f"  {passage.direction} of {one}: {other}"))
        if self._map.walkthrough:
            yield Text(printable("  " + " > ".join(self._map.walkthrough)), style=WAY)


def _is_bent(drawn: Map, passage: Passage) -> bool:
    """Whether the passage is no straight line in its direction on the grid."""
    (x, y), (u, v) = (drawn.rooms[key].cell for key in passage.rooms)
    step = STEPS[passage.direction]
    return (_sign(u - x), _sign(v - y)) != step


def _is_walked(drawn: Map, passage: Passage) -> bool:
    return any({one, other} == set(passage.rooms) for one, other in zip(drawn.route, drawn.route[1:], strict=False))


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)


class _Canvas:
    """Characters, each with a style."""

    def __init__(self, width: int, height: int) -> None:
        self._cells = [[(" ", "")] * width for _ in range(height)]

    def write(self, column: int, line: int, text: str, style: str) -> None:
        for at, character in enumerate(text):
            self._cells[line][column + at] = (character, style)

    def lines(self) -> Iterator[Text]:
        for line in self._cells:
            yield Text.assemble(*line, no_wrap=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """The map of one game, for the terminal and as a picture."""

    view: MapView
    picture: Path


def draw_previews(folder: Path, entries: Sequence[ManifestEntry]) -> list[Preview]:
    """Draw the map of the first game of each level; the pictures are written to the folder's `preview`."""
    from experiments.release.map_picture import draw_map

    (folder / "preview").mkdir(exist_ok=True)
    firsts = {entry.level: entry for entry in reversed(entries)}
    previews = []
    for _, entry in sorted(firsts.items()):
        drawn, picture = load_map(entry.path), folder / "preview" / f"{entry.path.stem}.svg"
        title = f"{entry.file}: {entry.family} level {entry.level}, {entry.max_score} points"
        draw_map(drawn, title, picture)
        previews.append(Preview(view=MapView(drawn, title), picture=picture))
    return previews
