"""Read the map of a game from TextWorld's record, the `.json` file beside the game."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from games.untrusted_files import read_object

STEPS = {"north": (0, -1), "south": (0, 1), "east": (1, 0), "west": (-1, 0)}  # direction -> (columns, rows)
STATES = ("open", "closed", "locked")
Cell = tuple[int, int]
Exits = Mapping[str, Mapping[str, str]]  # room id -> direction -> id of the room in that direction


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """One room at the beginning of the game."""

    name: str
    cell: Cell  # (column, row), different for each room
    things: tuple[str, ...]  # such as `fridge (closed): milk`


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A two-way passage. Without a door, `door` and `state` are ''."""

    rooms: tuple[str, str]  # ids
    direction: str  # from the first room to the second
    door: str = ""  # its name
    state: str = ""  # one of STATES


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """The map of one game at its beginning."""

    rooms: dict[str, Room]  # id -> room; first those of the route, then the others by distance from `start`
    passages: tuple[Passage, ...]
    start: str  # the id of the player's first room
    carried: tuple[str, ...]  # the things that the player carries
    walkthrough: tuple[str, ...]
    route: tuple[str, ...]  # the ids of the rooms of the walkthrough


def load_map(story: Path) -> Map:
    """Return the map of `story`, a `.z8` file with its `.json` beside it."""
    return read_map(read_object(story.with_suffix(".json")))


def read_map(record: Mapping[str, Any]) -> Map:
    """Return the map of a game. `record` is the content of its `.json`."""
    facts = [(fact["name"], [argument["name"] for argument in fact["arguments"]]) for fact in record["world"]]
    infos = {str(key): info for key, info in record["infos"]}
    exits = _exits(facts)
    holders = {inner: holder for name, (inner, *rest) in facts if name in ("at", "in", "on") for holder in rest}
    rooms = [key for key, info in infos.items() if info["type"] == "r"]
    start = holders["P"]
    walkthrough = tuple(record["metadata"].get("walkthrough") or ())
    route = _route(start, exits, walkthrough)
    order = list(dict.fromkeys([*route, *_reachable(start, exits), *rooms]))
    cells = _place_rooms(order, exits)
    return Map(
        rooms={
            key: Room(name=_name(infos, key), cell=cells[key], things=_things(key, holders, facts, infos))
            for key in order
        },
        passages=tuple(_passages(order, exits, facts, infos)),
        start=start,
        carried=_things("I", holders, facts, infos),
        walkthrough=walkthrough,
        route=route,
    )


def _name(infos: Mapping[str, Any], key: str) -> str:
    return str(infos[key].get("name") or key)


def _exits(facts: Sequence[tuple[str, list[str]]]) -> Exits:
    exits: dict[str, dict[str, str]] = {}
    for name, arguments in facts:
        direction = name.removesuffix("_of")
        if direction in STEPS and name != direction:  # north_of(a, b): a is to the north of b
            exits.setdefault(arguments[1], {})[direction] = arguments[0]
    return exits


def _route(start: str, exits: Exits, commands: Sequence[str]) -> tuple[str, ...]:
    route = [start]
    for command in commands:
        to = exits.get(route[-1], {}).get(command.removeprefix("go "))
        if command.startswith("go ") and to is not None:
            route.append(to)
    return tuple(route)


def _reachable(start: str, exits: Exits) -> list[str]:
    rooms = [start]
    for room in rooms:
        rooms += [to for to in dict.fromkeys(exits.get(room, {}).values()) if to not in rooms]
    return rooms


def _place_rooms(rooms: Sequence[str], exits: Exits) -> dict[str, Cell]:
    """Return a cell for each room. If possible, passages keep their direction on the map."""
    cells: dict[str, Cell] = {}
    for first in rooms:
        if first in cells:
            continue
        # unreachable rooms are placed below the others
        cells[first] = (0, 1 + max((row for _, row in cells.values()), default=-1))
        queue = [first]
        for here in queue:
            for direction, room in exits.get(here, {}).items():
                if room not in cells:
                    cells[room] = _free_cell(here, direction, cells, exits)
                    queue.append(room)
    cells = _compact(_compact(cells, exits, axis=0), exits, axis=1)
    west, north = (min(values) for values in zip(*cells.values(), strict=True))
    return {room: (column - west, row - north) for room, (column, row) in cells.items()}


def _free_cell(here: str, direction: str, cells: dict[str, Cell], exits: Exits) -> Cell:
    """Return the cell beside `here`. If necessary, move other rooms first, which changes `cells`."""
    (east, south), (column, row) = STEPS[direction], cells[here]
    beside = (column + east, row + south)
    if beside in cells.values() or beside in _crossed(cells, exits):
        for room, (x, y) in cells.items():
            if (x - column) * east + (y - row) * south > 0:
                cells[room] = (x + east, y + south)
    return beside


def _compact(cells: dict[str, Cell], exits: Exits, axis: int) -> dict[str, Cell]:
    """Merge neighbouring columns (axis 0) or rows (axis 1) where no rooms or passages collide."""
    values = [cell[axis] for cell in cells.values()]
    for at in range(max(values) - 1, min(values) - 1, -1):
        moved = {
            room: (cell[0] - (axis == 0), cell[1] - (axis == 1)) if cell[axis] > at else cell
            for room, cell in cells.items()
        }
        occupied = set(moved.values())
        if len(occupied) == len(moved) and occupied.isdisjoint(_crossed(moved, exits)):
            cells = moved
    return cells


def _crossed(cells: Mapping[str, Cell], exits: Exits) -> set[Cell]:
    """Return the cells between two connected rooms in the same column or row."""
    crossed: set[Cell] = set()
    for room, ways in exits.items():
        for to in ways.values():
            if room in cells and to in cells:
                (x, y), (u, v) = cells[room], cells[to]
                if x == u:
                    crossed.update((x, row) for row in range(min(y, v) + 1, max(y, v)))
                elif y == v:
                    crossed.update((column, y) for column in range(min(x, u) + 1, max(x, u)))
    return crossed


def _things(holder: str, holders: Mapping[str, str], facts: Sequence[Any], infos: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a text for each thing in `holder`. `holders` maps the id of each thing to that of its holder."""
    things = []
    for key in sorted(key for key, place in holders.items() if place == holder and key in infos):
        if infos[key]["type"] == "P" or not infos[key].get("name"):
            continue
        state = next((name for name, arguments in facts if name in STATES[1:] and arguments == [key]), "")
        inside = ", ".join(_things(key, holders, facts, infos))
        things.append(_name(infos, key) + (f" ({state})" if state else "") + (f": {inside}" if inside else ""))
    return tuple(things)


def _passages(rooms: Sequence[str], exits: Exits, facts: Sequence[Any], infos: Mapping[str, Any]) -> list[Passage]:
    """Return each passage once. Its first room is the one that comes first in `rooms`."""
    doors = {(arguments[0], arguments[2]): arguments[1] for name, arguments in facts if name == "link"}
    states = {arguments[0]: name for name, arguments in facts if name in STATES and len(arguments) == 1}
    passages: dict[frozenset[str], Passage] = {}
    for room in rooms:
        for direction, to in exits.get(room, {}).items():
            ends = frozenset((room, to))
            if ends not in passages:
                door = doors.get((room, to), "")
                name, state = (_name(infos, door), states.get(door, "open")) if door else ("", "")
                passages[ends] = Passage(rooms=(room, to), direction=direction, door=name, state=state)
    return list(passages.values())
