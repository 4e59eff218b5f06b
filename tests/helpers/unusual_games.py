"""Unusual TextWorld games that `GameMaker` and TextWorld's own generator make, without the mark of our games."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from games.textworld.upstream.start import rules_parsed_once

if TYPE_CHECKING:
    from textworld import GameMaker

NAMES = {
    "number signs": ("key #2", "box #1", "table #3", "apple #10", "room #1", "door #4"),
    "apostrophes": ("bob's key", "ann's box", "chef's table", "eve's apple", "bob's room", "ann's door"),
    "hyphens": ("pass-key", "half-open box", "two-legged table", "crab-apple", "ante-room", "trap-door"),
    "slashes": ("on/off key", "in/out box", "w/e table", "and/or apple", "n/a room", "yes/no door"),
    "signs": ("$5 key", "50% box", "a+ table", "r&d apple", "area *51*", "door = 1"),
    "capitals": ("Brass KEY", "TV Box", "IKEA Table", "Granny Smith", "USA", "Door A"),
    "digits": ("1", "22", "333", "4444", "5", "66"),
    "conjunctions": ("lock and key", "salt then pepper", "table except one", "all apple", "both room", "each door"),
    "verbs": ("take", "open", "put", "eat", "go", "unlock"),
    "directions": ("north key", "south box", "east table", "west apple", "north", "south door"),
    "pronouns": ("it", "them", "this", "that", "him", "one"),
    "prepositions": (
        "key on ring", "box with lid", "table from oak", "apple into pie", "room in attic", "door to door",
    ),
    "long names": tuple(f"{'very ' * 12}old {noun}" for noun in ("key", "box", "table", "apple", "room", "door")),
}  # fmt: skip
"""The names of a key, a container, a supporter, a food, a room and a door. TextWorld cannot compile names with full
stops, commas, colons, semicolons, brackets and question marks."""


def _named(names: tuple[str, ...]) -> GameMaker:
    """A game of two rooms. The key to the locked door is in the box. One of the two quests can be lost."""
    from textworld import GameMaker

    key, box, table, apple, room, door = names
    maker: Any = GameMaker()
    first, yard = maker.new_room(room), maker.new_room("yard")
    maker.set_player(first)
    way = maker.new_door(maker.connect(first.east, yard.west), name=door)
    way.add_property("locked")
    things = [maker.new(type=kind, name=name) for kind, name in zip("kcsf", (key, box, table, apple), strict=True)]
    maker.add_fact("match", things[0], way)
    things[1].add_property("closed")
    things[1].add(things[0])
    first.add(things[1], things[2])
    things[2].add(things[3])
    reach, own, eaten = (
        maker.new_fact("at", maker.player, yard),
        maker.new_fact("in", things[3], maker.inventory),
        maker.new_fact("eaten", things[3]),
    )
    maker.quests = [_quest([[reach]], reward=2), _quest([[own]], [[eaten]], reward=1)]
    return maker


def unsendable_names() -> GameMaker:
    """A game whose listed commands contain names that the interpreter cannot process."""
    return _named(("clé", "back\\slash", "table", " ".join(["apple", "a" * 60, "b" * 60, "c" * 60]), "room", "door"))


def _quest(wins: list[list[Any]], fails: list[list[Any]] | None = None, **options: Any) -> Any:
    from textworld.generator.game import Event, Quest

    return Quest(
        win_events=[Event(conditions=set(facts)) for facts in wins],
        fail_events=[Event(conditions=set(facts)) for facts in fails or ()],
        **options,
    )


def _pantry() -> tuple[Any, list[Any]]:
    """A game of three rooms, and six things that the player can take. Some things have similar names."""
    from textworld import GameMaker

    maker: Any = GameMaker()
    rooms = [maker.new_room(name) for name in ("kitchen", "pantry", "cellar")]
    maker.connect(rooms[0].north, rooms[1].south)
    maker.connect(rooms[1].east, rooms[2].west)
    maker.set_player(rooms[0])
    chest = maker.new(type="c", name="old chest")
    chest.add_property("closed")
    rooms[1].add(chest)
    names = ("old red apple", "red apple", "apple core", "old coin", "red coin", "coin")
    things = [maker.new(type="f" if "apple" in name else "o", name=name) for name in names]
    for thing, place in zip(things, (rooms[0], chest, chest, rooms[1], rooms[2], maker.inventory), strict=True):
        place.add(thing)
    return maker, things


def many_quests() -> GameMaker:
    """Twelve quests: five to hold a thing, six optional ones, of which three can fail, and one with two ways to win."""
    maker, things = _pantry()
    held = [maker.new_fact("in", thing, maker.inventory) for thing in things]
    eaten = [maker.new_fact("eaten", thing) for thing in things[:3]]
    maker.quests = [
        *(_quest([[fact]], reward=1 + i) for i, fact in enumerate(held[:5])),
        *(_quest([[fact]], reward=0, optional=True) for fact in eaten),
        *(_quest([held[i : i + 2]], [[eaten[i]]], reward=3, optional=True) for i in (0, 1, 2)),
        _quest([[held[3], held[4]], [held[0], held[1]]], reward=5),
    ]
    return maker


def repeatable_quests(*rewards: int) -> GameMaker:
    """Every turn with a certain coin in hand scores, so the maximum score is infinite. Eating one apple loses."""
    maker, things = _pantry()
    held = [maker.new_fact("in", thing, maker.inventory) for thing in things[3:]]
    maker.quests = [
        *(
            _quest([[fact]], reward=reward, repeatable=True, optional=True)
            for fact, reward in zip(held, rewards, strict=False)
        ),
        _quest([[held[1]]], [[maker.new_fact("eaten", things[0])]], reward=2),
    ]
    return maker


def no_quests() -> GameMaker:
    """A game without an end."""
    return _pantry()[0]


def losing_game() -> GameMaker:
    """Eating any food, or carrying two certain things at once, loses. Reaching the cellar wins."""
    maker, things = _pantry()
    fails = [[maker.new_fact("eaten", thing)] for thing in things[:3]]
    fails += [[maker.new_fact("in", things[1], maker.inventory), maker.new_fact("in", things[3], maker.inventory)]]
    cellar = maker.find_by_name("cellar")
    maker.quests = [_quest([[maker.new_fact("at", maker.player, cellar)]], fails, reward=1)]
    return maker


REPEATABLE: dict[str, Callable[[], GameMaker]] = {
    "a repeatable quest": partial(repeatable_quests, 1),
    "a repeatable quest of many points": partial(repeatable_quests, 30),
    "two repeatable quests": partial(repeatable_quests, 2, 5),
}
MADE: dict[str, Callable[[], GameMaker]] = {
    **{f"names: {name}": partial(_named, names) for name, names in NAMES.items()},
    "many quests": many_quests,
    "a repeatable quest": REPEATABLE["a repeatable quest"],
    "no quests": no_quests,
    "many ways to lose": losing_game,
}
"""Functions that build the games of `GameMaker`, by the games' names."""
GRAMMARS: dict[str, dict[str, Any]] = {
    "basic theme": {"theme": "basic", "include_adj": True, "only_last_action": True},
    "blended instructions": {"theme": "house", "blend_instructions": True, "blend_descriptions": True},
    "numbered names": {"theme": "house", "allowed_variables_numbering": True, "names_to_exclude": ["kitchen", "key"]},
}
"""Options of the grammar of TextWorld's generator, by the games' names."""
GAMES = (*MADE, *GRAMMARS)


def compile_game(name: str, folder: Path) -> Path:
    """Compile a game of `GAMES` or `REPEATABLE`, or "unsendable names", in `folder`. Return the path of the story."""
    story = folder / "tw-unusual.z8"
    with rules_parsed_once():
        if make := (MADE | REPEATABLE | {"unsendable names": unsendable_names}).get(name):
            make().compile(str(story))
            return story
        from textworld import GameOptions
        from textworld.generator import compile_game as compile_textworld_game
        from textworld.generator import make_game

        options: Any = GameOptions()
        options.seeds, options.nb_rooms, options.nb_objects, options.path = 3, 3, 10, str(story)
        options.chaining.max_depth = 4
        for key, value in GRAMMARS[name].items():
            setattr(options.grammar, key, value)
        compile_textworld_game(make_game(options), options)
    return story
