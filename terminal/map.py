"""Draw the map of a game with `rich`."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Column, Table
from rich.text import Text

from games.files import exclusive
from games.textworld.generation.manifest import ManifestEntry
from games.textworld.maps import STEPS, Map, Passage, load_map
from terminal.texts import printable

HEIGHT = 4  # text lines per row of rooms: three for the boxes, and one for the passages below
DOORS = {"open": "□", "closed": "■", "locked": "╳"}
ROUTE, DIM, DOOR = "bold green", "dim", "bold yellow"
Canvas = list[list[tuple[str, str]]]  # lines of characters, each with its style


class MapView:
    """A map with rooms as boxes. Boxes contain names or, in narrow terminals, numbers."""

    def __init__(self, game_map: Map, title: str) -> None:
        self._map, self._title = game_map, title
        self._numbers = {key: str(number) for number, key in enumerate(game_map.rooms, 1)}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(printable(self._title), style="bold")
        columns = 1 + max(room.cell[0] for room in self._map.rooms.values())
        names = {key: f"{self._numbers[key]} {printable(room.name)}" for key, room in self._map.rooms.items()}
        longest = 4 + max(map(len, names.values()))
        gap, width = 3, min(longest, (options.max_width + 3) // columns - 3)
        if width < min(longest, 12):
            gap, width, names = 1, 4 + max(map(len, self._numbers.values())), self._numbers
        if columns * (width + gap) - gap > options.max_width:
            yield Text(f"(a map {columns} rooms wide does not fit into this terminal)", style=DIM)
        else:
            yield from self._drawing(columns, width, gap, names)
        yield from self._legend()

    def _drawing(self, columns: int, width: int, gap: int, names: dict[str, str]) -> Iterator[Text]:
        rows = 1 + max(room.cell[1] for room in self._map.rooms.values())
        canvas = [[(" ", "")] * (columns * (width + gap)) for _ in range(rows * HEIGHT - 1)]
        for passage in self._map.passages:
            if not _is_bent(self._map, passage):
                self._draw_passage(canvas, passage, width, gap)
        for key, room in self._map.rooms.items():
            left, top = room.cell[0] * (width + gap), room.cell[1] * HEIGHT
            style = ROUTE if key in self._map.route else DIM
            horizontal, (a, b, c, d, side) = ("═", "╔╗╚╝║") if key == self._map.start else ("─", "┌┐└┘│")
            name = names[key] if len(names[key]) <= width - 4 else names[key][: width - 5] + "…"
            _write(canvas, left, top, a + horizontal * (width - 2) + b, style)
            _write(canvas, left, top + 1, f"{side} {name:^{width - 4}} {side}", style)
            _write(canvas, left, top + 2, c + horizontal * (width - 2) + d, style)
        yield from (Text.assemble(*line, no_wrap=True) for line in canvas)

    def _draw_passage(self, canvas: Canvas, passage: Passage, width: int, gap: int) -> None:
        (x, y), (u, v) = (self._map.rooms[key].cell for key in passage.rooms)
        style = ROUTE if any(set(pair) == set(passage.rooms) for pair in pairwise(self._map.route)) else DIM
        if y == v:
            left, right, line = min(x, u) * (width + gap) + width, max(x, u) * (width + gap), y * HEIGHT + 1
            _write(canvas, left, line, "─" * (right - left), style)
            door_position = ((left + right) // 2, line)
        else:
            column, top, bottom = x * (width + gap) + width // 2, min(y, v) * HEIGHT + 3, max(y, v) * HEIGHT
            for line in range(top, bottom):
                _write(canvas, column, line, "│", style)
            door_position = (column, (top + bottom) // 2)
        if passage.door:
            _write(canvas, *door_position, DOORS[passage.state], DOOR)

    def _legend(self) -> Iterator[RenderableType]:
        for key, room in self._map.rooms.items():
            start = " (the player starts here)" if key == self._map.start else ""
            things = f": {'; '.join(room.things)}" if room.things else ""
            if start or things:
                yield _indented(f"{self._numbers[key]:>3} ", f"{room.name}{start}{things}")
        if self._map.carried:
            yield _indented("  ", f"carried: {'; '.join(self._map.carried)}")
        for passage in self._map.passages:
            first, second = (f"{self._numbers[key]} {self._map.rooms[key].name}" for key in passage.rooms)
            if passage.door:
                door = f"{passage.door} ({passage.state}): {first} - {second}"
                yield _indented(f"  {DOORS[passage.state]} ", door, DOOR)
            if _is_bent(self._map, passage):
                yield _indented("  ", f"{passage.direction} of {first}: {second}")
        if self._map.walkthrough:
            yield _indented("  ", " > ".join(self._map.walkthrough), ROUTE)


def _indented(mark: str, text: str, style: str = "") -> RenderableType:
    grid = Table.grid(Column(width=len(mark), no_wrap=True), Column())
    grid.add_row(Text(mark, style=style), Text(printable(text), style=style))
    return grid


def _is_bent(game_map: Map, passage: Passage) -> bool:
    (x, y), (u, v) = (game_map.rooms[key].cell for key in passage.rooms)
    return ((u > x) - (u < x), (v > y) - (v < y)) != STEPS[passage.direction]


def _write(canvas: Canvas, column: int, line: int, text: str, style: str) -> None:
    canvas[line][column : column + len(text)] = [(character, style) for character in text]


def draw_previews(folder: Path, entries: Sequence[ManifestEntry]) -> dict[Path, MapView]:
    """Draw a map of the first game of each level. Return a dict: picture file -> map."""
    from experiments.release.map_picture import draw_map

    first_entries, previews = {entry.level: entry for entry in reversed(entries)}, {}
    with exclusive(folder / "preview", wait=True):
        for level, entry in sorted(first_entries.items()):
            game_map, picture = load_map(entry.path), folder / "preview" / f"{entry.path.stem}.svg"
            title = f"{entry.file}: {entry.family} level {level}, {entry.max_score} points"
            draw_map(game_map, title, picture)
            previews[picture] = MapView(game_map, title)
    return previews
