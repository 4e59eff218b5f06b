"""Text-Nav, rebuilt from the LMRL-Gym paper (Abdulhai et al. 2023, arXiv 2311.18232, C.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from games.parameters import Value

if TYPE_CHECKING:
    from textworld import GameOptions
    from textworld.generator import Game

    from games.textworld.engines.protocol import EngineResponse


# The paper defines ten rooms, two of their names, the random first room, the task, the reward of 1 and the turns' text.
# The map, the other names, furniture, other things, turn limit, random houses and last text are additions.
ROOMS = ("garden", "kitchen", "pantry", "living room", "bedroom",
         "backyard", "laundry room", "shed", "office", "bathroom")  # fmt: skip
"""The rooms of `house=fixed` by position. Positions 0-4 form a row from west to east, and 5-9 a row to its south."""
PASSAGES = ((0, "east", 1), (1, "east", 2), (2, "east", 3), (3, "east", 4), (0, "south", 5), (1, "south", 6),
            (2, "south", 7), (3, "south", 8), (4, "south", 9), (8, "east", 9))  # fmt: skip
"""The passages (a, direction, b). The room at position b lies in this direction from the room at position a."""
OPPOSITE = {"north": "south", "south": "north", "east": "west", "west": "east"}
DIRECTED_PASSAGES = (*PASSAGES, *((b, OPPOSITE[direction], a) for a, direction, b in PASSAGES))
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
FOOD, SOURCE_ROOM, TARGET_ROOM = "stale food", "living room", "kitchen"  # the word tokenizer reads `stale` as [UNK]
OBJECTIVE = f"Take the {FOOD} from the {SOURCE_ROOM} and put it into the fridge in the {TARGET_ROOM}."
TURN_TEXT_INFOS = ("description", "inventory")  # the infos from which `turn_text` makes its text
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
    """Return an uncompiled game.

    The seed determines the first room and, for `house=drawn`, the positions of the rooms.
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
    for position, direction, neighbour in PASSAGES:
        maker.connect(rooms[position].exits[direction], rooms[neighbour].exits[OPPOSITE[direction]])
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


def turn_text(response: EngineResponse, observed: Value) -> str:
    """Return the text of a turn. If `observed` is `part`, the text lacks the room's name and the inventory."""
    if response.won or response.lost:
        return response.text
    assert response.description is not None and response.inventory is not None
    room, _, contents = response.description.partition("\n")
    parts = (room, response.inventory, contents) if observed == "full" else (contents,)
    return "\n".join(part.strip() for part in parts)


def _furnish(maker: Any, room: Any, furniture: tuple[str, str, tuple[str, ...]] | None, things: dict[str, Any]) -> None:
    exits = ", ".join(sorted(direction for direction, room_exit in room.exits.items() if room_exit.dest is not None))
    furniture_text = ""
    if furniture is not None:
        name, kind, contents = furniture
        holder = things[name] = maker.new(type=kind, name=name)
        room.add(holder)
        for item in contents:
            things[item] = maker.new(type="o", name=item)
        holder.add(*(things[item] for item in contents))
        if kind == "c":
            holder.add_property("closed")
        furniture_text = (SUPPORTER if kind == "s" else CONTAINER).format(name=name, key=holder.id)
    room.infos.desc = f"{furniture_text}Exits: {exits}."


def _walkthrough(names: Sequence[str], start: int) -> list[str]:
    """Return the shortest solution. `names[i]` is the room at position i."""
    source, target = names.index(SOURCE_ROOM), names.index(TARGET_ROOM)
    holder, container = FURNITURE[SOURCE_ROOM][0], FURNITURE[TARGET_ROOM][0]
    fetch = [*_shortest_path(start, source), f"take {FOOD} from {holder}"]
    return [*fetch, *_shortest_path(source, target), f"open {container}", f"insert {FOOD} into {container}"]


def _shortest_path(start: int, end: int) -> list[str]:
    paths: dict[int, list[str]] = {start: []}
    queue = [start]
    for position in queue:
        for source, direction, neighbour in DIRECTED_PASSAGES:
            if source == position and neighbour not in paths:
                paths[neighbour] = [*paths[position], f"go {direction}"]
                queue.append(neighbour)
    return paths[end]
