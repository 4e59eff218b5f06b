"""The interface of engines and the types that engines return. An engine plays the episodes of one text game."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineResponse:
    """The response of a game at the start of an episode or after one command.

    All texts are stripped at both ends. `score` is the running score, in game points. `ended` is true if a story has
    ended without telling whether the player has won or lost. `admissible_commands` is sorted. It may contain commands
    even after the end of the game, because TextWorld lists some. `policy_commands` are commands that win from this
    state, according to TextWorld. `policy_commands`, `intermediate_reward`, `description` and `inventory` are None
    unless they were requested.
    """

    text: str
    score: int
    won: bool = False
    lost: bool = False
    ended: bool = False
    admissible_commands: tuple[str, ...] = ()
    policy_commands: tuple[str, ...] | None = None
    intermediate_reward: int | None = None
    description: str | None = None
    inventory: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GameInfo:
    """The properties of a game that are constant during play.

    `max_score` is 0 if the maximum is unknown or if a repeatable quest makes the score unlimited.
    `command_templates` are the templates of the game's rules, such as `go east` or `take {o} from {c}`. `entities` are
    the names of all doors, objects, rooms and directions. `typed_entities` pairs each name with the letter of its type
    in the templates, as in `("antique trunk", "c")`.
    """

    max_score: int
    objective: str = ""
    walkthrough: tuple[str, ...] = ()
    command_templates: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    entities: tuple[str, ...] = ()
    typed_entities: tuple[tuple[str, str], ...] = ()


BANNER_END = "$$$$$$$$ \\$$$$$$$ \n"  # the last line of the banner that every game of TextWorld prints at its start
# the fields of `GameInfo` and of `EngineResponse` that can be requested; the names are TextWorld's
CONSTANT = ("command_templates", "verbs", "entities", "typed_entities")
INFOS = ("inventory", "description", "policy_commands", "intermediate_reward")


class Engine(ABC):
    """Plays one game, one episode at a time. Commands must have passed a filter (`command_filter.py`)."""

    game_info: GameInfo

    @abstractmethod
    def reset(self) -> EngineResponse:
        """Begin an episode and return the opening response. Raise GameError if the game cannot be played."""

    @abstractmethod
    def step(self, command: str) -> EngineResponse:
        """Play one command of an unfinished game and return the response. Raise GameError if the game fails."""

    def is_cached(self, command: str) -> bool:
        """Return whether the response to `command` is cached. Such a command needs no filter and no interpreter."""
        return False

    @abstractmethod
    def close(self) -> None:
        """Free all resources. A second call does nothing. `reset` allocates the resources again."""


def game_info(game: Any) -> GameInfo:
    """Return the constant properties of `game`, which is a TextWorld `Game`."""
    return GameInfo(
        max_score=int(game.max_score) if math.isfinite(game.max_score) else 0,
        objective=game.objective,
        walkthrough=tuple(game.metadata.get("walkthrough") or ()),
        command_templates=tuple(game.command_templates),
        verbs=tuple(game.verbs),
        entities=tuple(game.entity_names),
        typed_entities=tuple(map(tuple, game.objects_names_and_types)),
    )


def intermediate_reward(before: Sequence[Any] | None, after: Sequence[Any] | None, *, won: bool, lost: bool) -> int:
    """Return the intermediate reward of a command: 1, 0 or -1.

    `before` and `after` are sequences of actions that win from the states before and after the command. Each is None if
    TextWorld knows no such sequence. The first rule that applies decides:

    1. A command that wins the game earns 1, and a command that loses it earns -1.
    2. If `before` is None, the reward is 0.
    3. If `after` is None, the reward is -1. (TextWorld itself raises TypeError.)
    4. The reward is 1 if `after` is shorter than `before`, 0 if both have the same length, and -1 if `after` is longer.
    """
    if won or lost:
        return 1 if won else -1
    if before is None:
        return 0
    return -1 if after is None else (len(before) > len(after)) - (len(before) < len(after))
