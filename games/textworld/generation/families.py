"""The families of TextWorld games, each with parameters and levels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from games.errors import GameError, nearest
from games.parameters import Parameter, Value
from games.textworld.generation import textnav
from games.textworld.generation.manifest import SPLITS

if TYPE_CHECKING:
    from textworld import GameOptions
    from textworld.generator import Game

Values = Mapping[str, Value]
MAX_SEED = 2**31 - 1
REWARDS = ("dense", "balanced", "sparse")
GOALS = ("detailed", "brief", "none")
HOUSES = ("fixed", "drawn")
OBSERVED = ("full", "part")


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A kind of game, such as `cooking`. Each level is a preset of the family's parameters."""

    name: str
    description: str
    levels: int  # the highest level
    own_parameters: tuple[Parameter, ...]  # without `level` and `seed`
    preset: Callable[[int], dict[str, Value]]
    make: Callable[[Values, "GameOptions"], "Game"]  # returns the game before compilation
    brief: Callable[["Game"], str] | None = None  # the objective for `goal=brief`, unless `make` sets it
    excluded: range = range(0)  # levels that do not exist

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """All parameters, including `level` and `seed`."""
        return (
            Parameter(name="level", kind="int", default=1, low=1, high=self.levels, help="difficulty"),
            Parameter(name="seed", kind="int", default=0, low=0, high=MAX_SEED, help="which game of the level"),
            *self.own_parameters,
        )

    def complete(self, settings: Values) -> dict[str, Value]:
        """Return `settings` plus the defaults of the level. Raise GameError if the level is excluded."""
        level = int(str(settings.get("level", 1)))
        if level in self.excluded:
            raise GameError(
                f"textworld:{self.name}: level {level} would have more than 100 rooms, which TextWorld cannot compile;"
                f" levels {self.excluded[0]} to {self.excluded[-1]} are excluded"
            )
        return {"level": level, "seed": 0, **self.preset(level), **settings}


def _choice(name: str, choices: tuple[str, ...], text: str) -> Parameter:
    return Parameter(name=name, kind="choice", choices=choices, help=text)


def _goal(choices: tuple[str, ...] = GOALS) -> Parameter:
    return _choice("goal", choices, "how the opening text states the objective")


def _switch(name: str, text: str) -> Parameter:
    return Parameter(name=name, kind="bool", help=text)


def _number(name: str, low: int, high: int, text: str) -> Parameter:
    return Parameter(name=name, kind="int", low=low, high=high, help=text)


def _treasure_brief(game: "Game") -> str:
    facts = game.quests[0].win_events[0].condition.preconditions
    treasure = next(fact.arguments[0].name for fact in facts if fact.name == "in" and fact.arguments[1].type == "I")
    return f"Find the {game.infos[treasure].name} and take it."


def _presets(names: str, *levels: tuple[Value, ...]) -> list[dict[str, Value]]:
    return [dict(zip(names.split(), values, strict=True)) for values in levels]


COOKING = _presets(
    "recipe take rooms open cook cut drop",
    (1, 1, 1, False, False, False, False),
    (1, 1, 1, True, False, False, False),
    (1, 1, 1, True, True, False, False),
    (1, 1, 1, True, True, True, False),
    (1, 1, 6, True, False, False, False),
    (1, 1, 6, True, True, True, False),
    (2, 2, 6, True, True, True, False),
    (3, 3, 6, True, True, True, True),
    (3, 3, 9, True, True, True, True),
    (3, 3, 12, True, True, True, True),
)


def _cooking(values: Values, options: "GameOptions") -> "Game":
    if int(str(values["take"])) > int(str(values["recipe"])):
        raise GameError(f"textworld:cooking: take={values['take']}: expected at most recipe={values['recipe']}")
    split = None if values["split"] == "any" else values["split"]
    return _challenge("tw-cooking", {**values, "go": values["rooms"], "split": split, "recipe_seed": 0}, options)


QUEST = _presets("rooms objects steps", (1, 3, 2), (2, 3, 3), (2, 3, 4), (3, 5, 5), (3, 5, 6), (4, 6, 8), (5, 8, 9),
                 (6, 10, 10), (8, 12, 12), (10, 15, 15))  # fmt: skip


def _quest(values: Values, options: "GameOptions") -> "Game":
    from textworld.generator import make_game

    options.nb_rooms, options.nb_objects, options.quest_length = (
        int(str(values[name])) for name in ("rooms", "objects", "steps")
    )
    return make_game(options)


def _challenge(name: str, settings: Mapping[str, Any], options: "GameOptions") -> "Game":
    from textworld.challenges import CHALLENGES

    return CHALLENGES[name][1](dict(settings), options)


_FAMILIES = (
    Family(
        name="simple",
        description="A fixed house with six rooms: find one food and put it on the stove. The objective is detailed"
        " on levels 1-3, brief on 4-6, absent on 7-9; within each group of three, points are dense,"
        " balanced, sparse.",
        levels=9,
        preset=lambda level: {"goal": GOALS[(level - 1) // 3], "rewards": REWARDS[(level - 1) % 3], "test": False},
        make=lambda values, options: _challenge("tw-simple", values, options),
        own_parameters=(
            _goal(),
            _choice("rewards", REWARDS, "how often the game gives points"),
            _switch("test", "whether the food is one that training games never use"),
        ),
    ),
    Family(
        name="coin",
        description="Rooms in a chain and a coin at its end, one point. Level L up to 100 has L rooms; 101-150 add"
        " one dead end to each room of a chain of L - 100, 201-233 two to each room of a chain of L - 200."
        " Levels 151-200 would have more than 100 rooms, which TextWorld 1.7 cannot compile.",
        levels=233,
        excluded=range(151, 201),
        preset=lambda level: {"goal": "detailed"},
        make=lambda values, options: _challenge("tw-coin_collector", {"level": values["level"]}, options),
        brief=lambda game: "Find the coin and take it.",
        own_parameters=(_goal(),),
    ),
    Family(
        name="treasure",
        description="A maze with one thing to take and one that must not be taken, one point. Levels 1-10 have 5"
        " empty rooms, 11-20 ten with containers that may be closed, 21-30 twenty with locks; the route"
        " grows within each group of ten.",
        levels=30,
        preset=lambda level: {"goal": "detailed"},
        make=lambda values, options: _challenge("tw-treasure_hunter", {"level": values["level"]}, options),
        brief=_treasure_brief,
        own_parameters=(_goal(),),
    ),
    Family(
        name="cooking",
        description="Read the cookbook, then fetch, cut, cook and eat; a point for most things done right. The levels"
        " add skills and rooms. Foods and recipes differ between the splits.",
        levels=len(COOKING),
        preset=lambda level: {**COOKING[level - 1], "split": "any", "goal": "brief"},
        make=_cooking,
        own_parameters=(
            _goal(("brief", "none")),
            _number("recipe", 1, 5, "ingredients of the recipe"),
            _number("take", 0, 5, "ingredients that the player must fetch"),
            Parameter(name="rooms", kind="int", choices=(1, 6, 9, 12), help="size of the house"),
            _switch("open", "doors and containers are closed"),
            _switch("cook", "ingredients must be cooked"),
            _switch("cut", "ingredients must be cut"),
            _switch("drop", "the player can carry only a few things"),
            _choice("split", ("any", *SPLITS), "the foods and preparations of one of TextWorld's own splits"),
        ),
    ),
    Family(
        name="quest",
        description="TextWorld's general generator: rooms, things and the length of the quest grow with the level,"
        " one point.",
        levels=len(QUEST),
        preset=lambda level: {**QUEST[level - 1], "goal": "detailed"},
        make=_quest,
        brief=lambda game: f"Your task: {game.metadata['walkthrough'][-1]}.",
        own_parameters=(
            _goal(),
            _number("rooms", 1, 50, "rooms"),
            _number("objects", 1, 100, "things, at least"),
            _number("steps", 1, 30, "commands of the shortest solution that the quest was made from"),
        ),
    ),
    Family(
        name="textnav",
        description="The Text-Nav task of LMRL-Gym, rebuilt from its paper (`games/textworld/generation/textnav.py`):"
        " ten rooms, take the stale food from the living room and put it into the fridge in the kitchen,"
        " one point. The seed draws where the player begins, on level 2 also which room lies where.",
        levels=len(HOUSES),
        preset=lambda level: {"house": HOUSES[level - 1], "observed": "full", "goal": "brief"},
        make=textnav.make,
        own_parameters=(
            _goal(("brief", "none")),
            _choice("house", HOUSES, "the same house for all seeds, or one for each"),
            _choice("observed", OBSERVED, "whether a turn also shows the room's name and what the player holds"),
        ),
    ),
)
FAMILIES = {family.name: family for family in _FAMILIES}


def family(name: str) -> Family:
    """Return the family called `name`. Raise GameError if the name is unknown."""
    if name not in FAMILIES:
        raise GameError(f"no family of TextWorld games is called {name!r}; {nearest(name, FAMILIES)}")
    return FAMILIES[name]
