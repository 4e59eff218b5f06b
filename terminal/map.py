"""The map of a game as a renderable of the `rich` library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from games.textworld.maps import STEPS, Map, Passage, load_map
from terminal.display import printable

if TYPE_CHECKING:
    from games.textworld.generation.manifest import ManifestEntry

HEIGHT = 4  # text lines per row of rooms, three of which draw the boxes of the rooms
DOORS = {"open": "□", "closed": "■", "locked": "╳"}
WAY, QUIET, DOOR = "bold green", "dim", "bold yellow"


class MapView:
    """A map whose rooms are boxes with names. If the names do not fit the terminal's width, numbers replace them."""

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
        """Draw a passage as a straight line between two boxes, with its door in the middle.

        Bent passages are not drawn. The legend lists them.
        """
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
        """Yield the lines below the map: things, doors, bent passages and the walkthrough."""
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
    """Return True if the line between the two rooms on the grid does not have the passage's direction."""
    (x, y), (u, v) = (drawn.rooms[key].cell for key in passage.rooms)
    return ((u > x) - (u < x), (v > y) - (v < y)) != STEPS[passage.direction]


def _is_walked(drawn: Map, passage: Passage) -> bool:
    return any({one, other} == set(passage.rooms) for one, other in zip(drawn.route, drawn.route[1:], strict=False))


class _Canvas:
    """A grid of characters, each with a style."""

    def __init__(self, width: int, height: int) -> None:
        self._cells = [[(" ", "")] * width for _ in range(height)]

    def write(self, column: int, line: int, text: str, style: str) -> None:
        for at, character in enumerate(text):
            self._cells[line][column + at] = (character, style)

    def lines(self) -> Iterator[Text]:
        for line in self._cells:
            yield Text.assemble(*line, no_wrap=True)


def draw_previews(folder: Path, entries: Sequence[ManifestEntry]) -> dict[Path, MapView]:
    """Draw the map of each level's first game, and write the pictures to the subfolder `preview`.

    Return the maps by picture file.
    """
    from experiments.release.map_picture import draw_map

    (folder / "preview").mkdir(exist_ok=True)
    firsts = {entry.level: entry for entry in reversed(entries)}
    previews = {}
    for _, entry in sorted(firsts.items()):
        drawn, picture = load_map(entry.path), folder / "preview" / f"{entry.path.stem}.svg"
        title = f"{entry.file}: {entry.family} level {entry.level}, {entry.max_score} points"
        draw_map(drawn, title, picture)
        previews[picture] = MapView(drawn, title)
    return previews
