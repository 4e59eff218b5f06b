"""The map of a game, read from TextWorld's record of it: rooms on a grid, passages and doors, things, the way to win.

Drawing is left out: the terminal's is `terminal/map.py`, the picture's `experiments/release/map_picture.py`.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STEPS = {"north": (0, -1), "south": (0, 1), "east": (1, 0), "west": (-1, 0)}
"""Where a direction leads on the grid: columns count to the east, rows to the south."""
STATES = ("open", "closed", "locked")
Cell = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """One room."""

    name: str
    cell: Cell
    """(column, row); no two rooms share one."""
    things: tuple[str, ...]
    """What is there at the beginning, as in `fridge (closed): milk`; doors and the player left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A way between two rooms, both ways."""

    rooms: tuple[str, str]
    """Their ids."""
    direction: str
    """Out of the first room."""
    door: str = ""
    """Its name; '' where there is none."""
    state: str = ""
    """Of the door, one of STATES."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """The map of one game at its beginning."""

    rooms: dict[str, Room]
    """By id, in the order in which the way to win first comes to them, then by their distance from the start."""
    passages: tuple[Passage, ...]
    start: str
    """Id of the room in which the player begins."""
    carried: tuple[str, ...]
    """What the player has at the beginning."""
    walkthrough: tuple[str, ...]
    route: tuple[str, ...]
    """Ids of the rooms that the walkthrough goes through, from the start."""


def load_map(story: Path) -> Map:
    """The map of the game `story`, a `.z8` with its `.json` beside it."""
    return read_map(json.loads(story.with_suffix(".json").read_text()))


def read_map(record: Mapping[str, Any]) -> Map:
    """The map that TextWorld's record of a game describes."""
    facts = [(fact["name"], [argument["name"] for argument in fact["arguments"]]) for fact in record["world"]]
    infos = {str(key): info for key, info in record["infos"]}
    exits = _exits(facts)
    at = {inner: holder for name, (inner, *rest) in facts if name in ("at", "in", "on") for holder in rest}
    rooms = [key for key, info in infos.items() if info["type"] == "r"]
    start = at["P"]
    walkthrough = tuple(record["metadata"].get("walkthrough") or ())
    route = _route(start, exits, walkthrough)
    order = list(dict.fromkeys([*route, *_reachable(start, exits), *rooms]))
    cells = _cells(order, exits)
    return Map(
        rooms={
            key: Room(name=_name(infos, key), cell=cells[key], things=_things(key, at, facts, infos)) for key in order
        },
        passages=tuple(_passages(order, exits, facts, infos)),
        start=start,
        carried=_things("I", at, facts, infos),
        walkthrough=walkthrough,
        route=route,
    )


def _name(infos: Mapping[str, Any], key: str) -> str:
    return str(infos[key].get("name") or key)


def _exits(facts: Sequence[tuple[str, list[str]]]) -> dict[str, dict[str, str]]:
    """room -> direction -> room. `north_of(a, b)` says that a is to the north of b."""
    exits: dict[str, dict[str, str]] = {}
    for name, arguments in facts:
        direction = name.removesuffix("_of")
        if direction in STEPS and name != direction:
            exits.setdefault(arguments[1], {})[direction] = arguments[0]
    return exits


def _route(start: str, exits: Mapping[str, Mapping[str, str]], commands: Sequence[str]) -> tuple[str, ...]:
    route = [start]
    for command in commands:
        to = exits.get(route[-1], {}).get(command.removeprefix("go "))
        if command.startswith("go ") and to is not None:
            route.append(to)
    return tuple(route)


def _reachable(start: str, exits: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Rooms by their distance from the start."""
    found, ahead = [start], deque([start])
    while ahead:
        for room in exits.get(ahead.popleft(), {}).values():
            if room not in found:
                found.append(room)
                ahead.append(room)
    return found


def _cells(rooms: Sequence[str], exits: Mapping[str, Mapping[str, str]]) -> dict[str, Cell]:
    """A cell for each room, so that neighbours lie in the direction in which one goes to them.

    A room is put beside a neighbour that has its cell. Where that cell is taken, or a passage runs through it, the
    whole map beyond is moved on by one, which turns no passage; what that leaves empty is taken out at the end.
    Parts that cannot be reached come below.
    """
    cells: dict[str, Cell] = {}
    for first in rooms:
        if first in cells:
            continue
        cells[first] = (0, 1 + max((row for _, row in cells.values()), default=-1))
        ahead = deque([first])
        while ahead:
            here = ahead.popleft()
            for direction, room in exits.get(here, {}).items():
                if room not in cells:
                    cells[room] = _free_cell(here, direction, cells, exits)
                    ahead.append(room)
    cells = _compact(_compact(cells, exits, axis=0), exits, axis=1)
    west, north = (min(values) for values in zip(*cells.values(), strict=True))
    return {room: (column - west, row - north) for room, (column, row) in cells.items()}


def _compact(cells: dict[str, Cell], exits: Mapping[str, Mapping[str, str]], axis: int) -> dict[str, Cell]:
    """The same map with columns (axis 0) or rows (axis 1) laid onto their neighbours where nothing collides."""
    at = max(cell[axis] for cell in cells.values()) - 1
    while at >= min(cell[axis] for cell in cells.values()):
        moved = {
            room: (cell[0] - (axis == 0), cell[1] - (axis == 1)) if cell[axis] > at else cell
            for room, cell in cells.items()
        }
        if not _collides(moved, exits):
            cells = moved
        at -= 1
    return cells


def _collides(cells: Mapping[str, Cell], exits: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether two rooms share a cell, or a straight passage goes through a room."""
    taken = set(cells.values())
    if len(taken) < len(cells):
        return True
    for room, ways in exits.items():
        for to in ways.values():
            (x, y), (u, v) = cells[room], cells[to]
            if x == u and any((x, row) in taken for row in range(min(y, v) + 1, max(y, v))):
                return True
            if y == v and any((column, y) in taken for column in range(min(x, u) + 1, max(x, u))):
                return True
    return False


def _free_cell(here: str, direction: str, cells: dict[str, Cell], exits: Mapping[str, Mapping[str, str]]) -> Cell:
    """The cell beside `here`; what is in the way moves on."""
    step = STEPS[direction]
    column, row = cells[here]
    beside = (column + step[0], row + step[1])
    if _taken(beside, cells, exits):
        axis = 0 if step[0] else 1
        for room, cell in cells.items():
            if (cell[axis] - cells[here][axis]) * step[axis] > 0:
                cells[room] = (cell[0] + step[0], cell[1] + step[1])
    return beside


def _taken(cell: Cell, cells: Mapping[str, Cell], exits: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether a room is in `cell`, or a straight passage between two rooms goes through it."""
    if cell in cells.values():
        return True
    for room, ways in exits.items():
        for to in ways.values():
            if room in cells and to in cells and _between(cell, cells[room], cells[to]):
                return True
    return False


def _between(cell: Cell, one: Cell, other: Cell) -> bool:
    """Whether `cell` lies on the straight line between two others of its column or row."""
    for axis in (0, 1):
        if cell[axis] == one[axis] == other[axis]:
            low, high = sorted((one[1 - axis], other[1 - axis]))
            return low < cell[1 - axis] < high
    return False


def _things(holder: str, at: Mapping[str, str], facts: Sequence[Any], infos: Mapping[str, Any]) -> tuple[str, ...]:
    """What is in or on `holder`, each with its state and with what is in or on it."""
    found = []
    for key in sorted((key for key, place in at.items() if place == holder and key in infos), key=str):
        if infos[key]["type"] == "P" or not infos[key].get("name"):
            continue
        state = next((name for name, arguments in facts if name in STATES[1:] and arguments == [key]), "")
        inside = ", ".join(_things(key, at, facts, infos))
        found.append(_name(infos, key) + (f" ({state})" if state else "") + (f": {inside}" if inside else ""))
    return tuple(found)


def _passages(
    rooms: Sequence[str], exits: Mapping[str, Mapping[str, str]], facts: Sequence[Any], infos: Mapping[str, Any]
) -> list[Passage]:
    """Each way once, out of the room that comes first."""
    doors = {(arguments[0], arguments[2]): arguments[1] for name, arguments in facts if name == "link"}
    states = {arguments[0]: name for name, arguments in facts if name in STATES and len(arguments) == 1}
    found, seen = [], set()
    for room in rooms:
        for direction, to in exits.get(room, {}).items():
            if frozenset((room, to)) in seen:
                continue
            seen.add(frozenset((room, to)))
            door = doors.get((room, to), "")
            found.append(
                Passage(
                    rooms=(room, to),
                    direction=direction,
                    door=_name(infos, door) if door else "",
                    state=states.get(door, "open") if door else "",
                )
            )
    return found
