"""Read the map of a TextWorld game from its `.json` file."""

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
    """A room and its contents at the start of the game."""

    name: str
    cell: Cell  # (column, row), different for each room
    things: tuple[str, ...]  # such as `fridge (closed): milk`


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A two-way passage between two rooms."""

    rooms: tuple[str, str]  # ids
    direction: str  # from the first room to the second
    door: str = ""  # the name of its door, if it has one
    state: str = ""  # the state of the door, one of STATES


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """The map at the start of the game."""

    rooms: dict[str, Room]  # id -> room; first those of the route, then the others by distance from `start`
    passages: tuple[Passage, ...]
    start: str  # the id of the player's first room
    carried: tuple[str, ...]  # the things that the player carries
    walkthrough: tuple[str, ...]
    route: tuple[str, ...]  # the ids of the rooms of the walkthrough


def load_map(story: Path) -> Map:
    """Return the map of a `.z8` file, read from the `.json` in the same folder."""
    return read_map(read_object(story.with_suffix(".json")))


def read_map(record: Mapping[str, Any]) -> Map:
    """Return the map of a game. `record` is the parsed `.json`."""
    facts = [(fact["name"], [argument["name"] for argument in fact["arguments"]]) for fact in record["world"]]
    infos = {str(key): info for key, info in record["infos"]}
    exits = _exits(facts)
    holders = {
        thing: holder for name, (thing, *holder_ids) in facts if name in ("at", "in", "on") for holder in holder_ids
    }
    rooms = [key for key, info in infos.items() if info["type"] == "r"]
    start = holders["P"]
    walkthrough = tuple(record["metadata"].get("walkthrough") or ())
    route = _route(start, exits, walkthrough)
    ordered_rooms = list(dict.fromkeys([*route, *_reachable(start, exits), *rooms]))
    cells = _place_rooms(ordered_rooms, exits)
    return Map(
        rooms={
            key: Room(name=_name(infos, key), cell=cells[key], things=_things(key, holders, facts, infos))
            for key in ordered_rooms
        },
        passages=tuple(_passages(ordered_rooms, exits, facts, infos)),
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
        target = exits.get(route[-1], {}).get(command.removeprefix("go "))
        if command.startswith("go ") and target is not None:
            route.append(target)
    return tuple(route)


def _reachable(start: str, exits: Exits) -> list[str]:
    rooms = [start]
    for room in rooms:
        rooms += [neighbour for neighbour in dict.fromkeys(exits.get(room, {}).values()) if neighbour not in rooms]
    return rooms


def _place_rooms(rooms: Sequence[str], exits: Exits) -> dict[str, Cell]:
    """Return the position of each room on the map."""
    cells: dict[str, Cell] = {}
    for start in rooms:
        if start in cells:
            continue
        # unreachable rooms are placed below the others
        cells[start] = (0, 1 + max((row for _, row in cells.values()), default=-1))
        queue = [start]
        for room in queue:
            for direction, neighbour in exits.get(room, {}).items():
                if neighbour not in cells:
                    cells[neighbour] = _free_cell(room, direction, cells, exits)
                    queue.append(neighbour)
    cells = _compact(_compact(cells, exits, axis=0), exits, axis=1)
    west, north = (min(values) for values in zip(*cells.values(), strict=True))
    return {room: (column - west, row - north) for room, (column, row) in cells.items()}


def _free_cell(room: str, direction: str, cells: dict[str, Cell], exits: Exits) -> Cell:
    """Return the cell next to `room` in `direction`. If the cell is occupied, first move rooms in `cells`."""
    (east, south), (column, row) = STEPS[direction], cells[room]
    beside = (column + east, row + south)
    if beside in cells.values() or beside in _crossed(cells, exits):
        for other_room, (x, y) in cells.items():
            if (x - column) * east + (y - row) * south > 0:
                cells[other_room] = (x + east, y + south)
    return beside


def _compact(cells: dict[str, Cell], exits: Exits, axis: int) -> dict[str, Cell]:
    """Merge adjacent columns (axis 0) or rows (axis 1) unless rooms or passages would overlap."""
    values = [cell[axis] for cell in cells.values()]
    for position in range(max(values) - 1, min(values) - 1, -1):
        moved = {
            room: (cell[0] - (axis == 0), cell[1] - (axis == 1)) if cell[axis] > position else cell
            for room, cell in cells.items()
        }
        occupied = set(moved.values())
        if len(occupied) == len(moved) and occupied.isdisjoint(_crossed(moved, exits)):
            cells = moved
    return cells


def _crossed(cells: Mapping[str, Cell], exits: Exits) -> set[Cell]:
    """Return all cells that lie between the two rooms of a passage."""
    crossed: set[Cell] = set()
    for room, neighbours in exits.items():
        for neighbour in neighbours.values():
            if room in cells and neighbour in cells:
                (x, y), (u, v) = cells[room], cells[neighbour]
                if x == u:
                    crossed.update((x, row) for row in range(min(y, v) + 1, max(y, v)))
                elif y == v:
                    crossed.update((column, y) for column in range(min(x, u) + 1, max(x, u)))
    return crossed


def _things(holder: str, holders: Mapping[str, str], facts: Sequence[Any], infos: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a text for each thing in or on `holder`, such as `fridge (closed): milk`."""
    things = []
    for key in sorted(key for key, holder_id in holders.items() if holder_id == holder and key in infos):
        if infos[key]["type"] == "P" or not infos[key].get("name"):
            continue
        state = next((name for name, arguments in facts if name in STATES[1:] and arguments == [key]), "")
        inside = ", ".join(_things(key, holders, facts, infos))
        things.append(_name(infos, key) + (f" ({state})" if state else "") + (f": {inside}" if inside else ""))
    return tuple(things)


def _passages(rooms: Sequence[str], exits: Exits, facts: Sequence[Any], infos: Mapping[str, Any]) -> list[Passage]:
    """Return every passage once. `exits` contains both directions of a passage."""
    doors = {(arguments[0], arguments[2]): arguments[1] for name, arguments in facts if name == "link"}
    states = {arguments[0]: name for name, arguments in facts if name in STATES and len(arguments) == 1}
    passages: dict[frozenset[str], Passage] = {}
    for room in rooms:
        for direction, neighbour in exits.get(room, {}).items():
            ends = frozenset((room, neighbour))
            if ends not in passages:
                door = doors.get((room, neighbour), "")
                name, state = (_name(infos, door), states.get(door, "open")) if door else ("", "")
                passages[ends] = Passage(rooms=(room, neighbour), direction=direction, door=name, state=state)
    return list(passages.values())
