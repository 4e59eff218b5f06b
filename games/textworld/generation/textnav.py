"""Text-Nav, made again from the description in LMRL-Gym's paper (Abdulhai et al. 2023, arXiv 2311.18232, C.2).

What the paper fixes: a house in TextWorld of 10 rooms with names of their own and things that can be opened, closed,
picked up and placed; the player begins in a random room, and is to take the stale food from the living room and to put
it into the fridge in the kitchen; reward 1 for that and 0 otherwise. A state is a text of four parts: the room, what
the player holds, the things in the room, the exits. Fully observed, all four are shown at every turn; partly observed,
the first two are left out.

What is our choice: the map, eight of the names, the furniture and the other things; that the fridge begins closed, and
that the food in it wins, closed or not; that the opening text says what to do (`goal=brief`) or does not (`goal=none`);
that a turn shows the parts and nothing else, so that `look`, `inventory` and `examine` tell nothing more, but for the
last turn, which shows the game's own answer; and the limit of turns. The paper has one house. `house=drawn` (level 2)
draws which room lies where, so that houses can be held out. A tokenizer of TextWorld's words does not know `stale`, so
a small trunk reads `[UNK] food`. Nothing of LMRL-Gym's code is used. Their data set of
demonstrations is left out.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from textworld import GameOptions
    from textworld.generator import Game

    from games.parameters import Value
    from games.textworld.engines.protocol import EngineResponse

ROOMS = ("garden", "kitchen", "pantry", "living room", "bedroom",
         "backyard", "laundry room", "shed", "office", "bathroom")  # fmt: skip
"""The rooms by place: 0-4 lie in a row from west to east, 5-9 south of them."""
PATHS = ((0, "east", 1), (1, "east", 2), (2, "east", 3), (3, "east", 4), (0, "south", 5), (1, "south", 6),
         (2, "south", 7), (3, "south", 8), (4, "south", 9), (8, "east", 9))  # fmt: skip
"""Which places are joined, and how."""
OPPOSITE = {"north": "south", "south": "north", "east": "west", "west": "east"}
FURNITURE: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    # room: name and type (a supporter or a closed container) of the piece in it, and the things on or in it
    "garden": ("bench", "s", ("glove",)),
    "kitchen": ("fridge", "c", ("apple",)),
    "pantry": ("shelf", "s", ("fresh food", "cup")),
    "living room": ("low table", "s", ("stale food", "remote")),
    "bedroom": ("chest", "c", ("sock",)),
    "laundry room": ("basket", "c", ("towel",)),
    "office": ("desk", "s", ("book", "pen")),
    "bathroom": ("sink", "s", ("soap bar",)),
}
FOOD, FROM, INTO = "stale food", "living room", "kitchen"
OBJECTIVE = f"Take the {FOOD} from the {FROM} and put it into the fridge in the {INTO}."
PARTS = ("description", "inventory")
"""What has to be asked of the game to show a state (`games.textworld.engines.protocol.INFOS`)."""


def make(values: Mapping[str, Value], options: GameOptions) -> Game:
    """TextWorld's game for the settings `house` and `goal`; the seed draws where the player begins."""
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


def state(answer: EngineResponse, observed: Value) -> str:
    """The parts of a state that the player sees, the game's own answer at its end; `observed` is full or part."""
    if answer.won or answer.lost:
        return answer.text
    assert answer.description is not None and answer.inventory is not None
    room, _, here = answer.description.partition("\n")
    parts = (room, answer.inventory, here) if observed == "full" else (here,)
    return "\n".join(part.strip() for part in parts)


def _furnish(maker: Any, room: Any, piece: tuple[str, str, tuple[str, ...]] | None, things: dict[str, Any]) -> None:
    """Put the piece of furniture and its things into the room, and describe it without naming the room."""
    exits = ", ".join(sorted(direction for direction, way in room.exits.items() if way.dest is not None))
    told = ""
    if piece is not None:
        name, kind, inside = piece
        holder = things[name] = maker.new(type=kind, name=name)
        room.add(holder)
        for item in inside:
            things[item] = maker.new(type="o", name=item)
        holder.add(*(things[item] for item in inside))
        if kind == "c":
            holder.add_property("closed")
        told = _supporter(name, holder.id) if kind == "s" else _container(name, holder.id)
    room.infos.desc = f"{told}Exits: {exits}."


def _supporter(name: str, key: str) -> str:
    """Inform 7's text of a supporter and what is on it."""
    holds = (
        f"[if there is something on the {key}]On it: [a list of things on the {key}].[otherwise]It is empty.[end if]"
    )
    return f"There is a {name} here. {holds}\n"


def _container(name: str, key: str) -> str:
    """Inform 7's text of a container and what is in it, where it is open; Inform has no condition inside another."""
    how = f"[if {key} is open]an open[otherwise]a closed[end if]"
    inside = f"[if {key} is open and there is something in the {key}] In it: [a list of things in the {key}].[end if]"
    empty = f"[if {key} is open and the {key} contains nothing] It is empty.[end if]"
    return f"There is {how} {name} here.{inside}{empty}\n"


def _walkthrough(names: Sequence[str], start: int) -> list[str]:
    """The shortest way to win from a place."""
    source, goal = names.index(FROM), names.index(INTO)
    holder, into = FURNITURE[FROM][0], FURNITURE[INTO][0]
    fetch = [*_way(start, source), f"take {FOOD} from {holder}", *_way(source, goal)]
    return [*fetch, f"open {into}", f"insert {FOOD} into {into}"]


def _way(start: int, end: int) -> list[str]:
    """A shortest sequence of `go` commands between two places."""
    ways: dict[int, list[str]] = {start: []}
    open_ends = deque([start])
    while end not in ways:
        place = open_ends.popleft()
        found = [(other, direction) for one, direction, other in PATHS if one == place]
        found += [(one, OPPOSITE[direction]) for one, direction, other in PATHS if other == place]
        for other, direction in found:
            if other not in ways:
                ways[other] = [*ways[place], f"go {direction}"]
                open_ends.append(other)
    return ways[end]
