"""Text-Nav, rebuilt from its description in the LMRL-Gym paper (Abdulhai et al. 2023, arXiv 2311.18232, C.2).

* From the paper: 10 named rooms, a random first room, the task, its reward of 1, and the texts of the turns.
* Ours: the map, eight of the names, the furniture, other things, the turn limit, drawn houses, and the last text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from games.parameters import Value

if TYPE_CHECKING:
    from textworld import GameOptions
    from textworld.generator import Game

    from games.textworld.engines.protocol import EngineResponse


ROOMS = ("garden", "kitchen", "pantry", "living room", "bedroom",
         "backyard", "laundry room", "shed", "office", "bathroom")  # fmt: skip
"""The rooms of the fixed house by position. Positions 0-4 form a row from west to east, and 5-9 a row south of it."""
PATHS = ((0, "east", 1), (1, "east", 2), (2, "east", 3), (3, "east", 4), (0, "south", 5), (1, "south", 6),
         (2, "south", 7), (3, "south", 8), (4, "south", 9), (8, "east", 9))  # fmt: skip
"""The passages (a, direction, b). Position b lies in this direction from position a."""
OPPOSITE = {"north": "south", "south": "north", "east": "west", "west": "east"}
WAYS = (*PATHS, *((other, OPPOSITE[direction], one) for one, direction, other in PATHS))
FURNITURE: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    # room: (piece of furniture, s for a supporter or c for a closed container, the things on or in it)
    "garden": ("bench", "s", ("glove",)),
    "kitchen": ("fridge", "c", ("apple",)),
    "pantry": ("shelf", "s", ("fresh food", "cup")),
    "living room": ("low table", "s", ("stale food", "remote")),
    "bedroom": ("chest", "c", ("sock",)),
    "laundry room": ("basket", "c", ("towel",)),
    "office": ("desk", "s", ("book", "pen")),
    "bathroom": ("sink", "s", ("soap bar",)),
}
FOOD, FROM, INTO = "stale food", "living room", "kitchen"  # the word tokenizer reads `stale` as [UNK]
OBJECTIVE = f"Take the {FOOD} from the {FROM} and put it into the fridge in the {INTO}."
PARTS = ("description", "inventory")  # the infos from which `state` makes the text of a turn
# descriptions in Inform 7, which has no nested conditions
SUPPORTER = (
    "There is a {name} here. [if there is something on the {key}]On it: [a list of things on the {key}]."
    "[otherwise]It is empty.[end if]\n"
)
CONTAINER = (
    "There is [if {key} is open]an open[otherwise]a closed[end if] {name} here."
    "[if {key} is open and there is something in the {key}] In it: [a list of things in the {key}].[end if]"
    "[if {key} is open and the {key} contains nothing] It is empty.[end if]\n"
)


def make(values: Mapping[str, Value], options: GameOptions) -> Game:
    """Return TextWorld's game before compilation.

    The seed of `options` determines the first room and, for `house=drawn`, the positions of the rooms.
    """
    from textworld import GameMaker
    from textworld.generator.game import Event, Quest

    rng = options.rngs["map"]
    start = int(rng.randint(len(ROOMS)))
    names = list(ROOMS)
    if values["house"] == "drawn":
        rng.shuffle(names)
    maker = GameMaker(options)
    rooms = [maker.new_room(name) for name in names]
    for one, direction, other in PATHS:
        maker.connect(rooms[one].exits[direction], rooms[other].exits[OPPOSITE[direction]])
    things: dict[str, Any] = {}
    for name, room in zip(names, rooms, strict=True):
        _furnish(maker, room, FURNITURE.get(name), things)
    maker.set_player(rooms[start])
    maker.quests = [Quest(win_events=[Event(conditions={maker.new_fact("in", things[FOOD], things["fridge"])})])]
    walkthrough = _walkthrough(names, start)
    maker.set_walkthrough(walkthrough)
    game = maker.build()
    game.objective = OBJECTIVE
    game.metadata["walkthrough"] = walkthrough
    return game


def state(response: EngineResponse, observed: Value) -> str:
    """Return the text of a turn or, after the end, the game's own response.

    `observed` is `full`, or `part` for a text without the room's name and the inventory.
    """
    if response.won or response.lost:
        return response.text
    assert response.description is not None and response.inventory is not None
    room, _, here = response.description.partition("\n")
    parts = (room, response.inventory, here) if observed == "full" else (here,)
    return "\n".join(part.strip() for part in parts)


def _furnish(maker: Any, room: Any, piece: tuple[str, str, tuple[str, ...]] | None, things: dict[str, Any]) -> None:
    exits = ", ".join(sorted(direction for direction, way in room.exits.items() if way.dest is not None))
    furniture = ""
    if piece is not None:
        name, kind, contents = piece
        holder = things[name] = maker.new(type=kind, name=name)
        room.add(holder)
        for item in contents:
            things[item] = maker.new(type="o", name=item)
        holder.add(*(things[item] for item in contents))
        if kind == "c":
            holder.add_property("closed")
        furniture = (SUPPORTER if kind == "s" else CONTAINER).format(name=name, key=holder.id)
    room.infos.desc = f"{furniture}Exits: {exits}."


def _walkthrough(names: Sequence[str], start: int) -> list[str]:
    """Return the shortest solution from position `start`. `names` are the rooms by position."""
    source, goal = names.index(FROM), names.index(INTO)
    holder, into = FURNITURE[FROM][0], FURNITURE[INTO][0]
    fetch = [*_way(start, source), f"take {FOOD} from {holder}"]
    return [*fetch, *_way(source, goal), f"open {into}", f"insert {FOOD} into {into}"]


def _way(start: int, end: int) -> list[str]:
    ways: dict[int, list[str]] = {start: []}
    queue = [start]
    for place in queue:
        for one, direction, other in WAYS:
            if one == place and other not in ways:
                ways[other] = [*ways[place], f"go {direction}"]
                queue.append(other)
    return ways[end]
