"""The interface of engines and the types that engines return. An engine plays the episodes of one text game."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineResponse:
    """The response of a game at the start of an episode or after one command.

    All texts are stripped at both ends. `score` is the running score, in game points. `admissible_commands` is sorted.
    It can contain commands even after the end of the game, because TextWorld lists some. `ended` is true if a story has
    ended without telling whether the player has won or lost. `policy_commands` are commands that win from this state,
    according to TextWorld. The fields from `policy_commands` on are None unless they were requested.
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

    `max_score` is 0 if the maximum is unknown. It is also 0 if a repeatable quest makes the score unlimited.

    `command_templates` are the templates of the game's rules, such as `go east` or `take {o} from {c}`. `entities` are
    the names of all doors, objects, rooms and directions. `typed_entities` pairs each name with its type, which is the
    letter that stands for it in the templates, as in `("antique trunk", "c")`.
    """

    max_score: int
    objective: str = ""
    walkthrough: tuple[str, ...] = ()
    command_templates: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    entities: tuple[str, ...] = ()
    typed_entities: tuple[tuple[str, str], ...] = ()


CONSTANT = ("command_templates", "verbs", "entities", "typed_entities")
"""The fields of `GameInfo` that the Gymnasium environment adds to `info` on request. The names are TextWorld's."""
INFOS = ("inventory", "description", "policy_commands", "intermediate_reward")
"""The optional fields of `EngineResponse` that can be requested from an engine. The names are TextWorld's."""


class Engine(Protocol):
    """Plays one game, one episode at a time. Commands must have passed a filter (`command_filter.py`)."""

    @property
    def game_info(self) -> GameInfo:
        """The properties of the game that are constant during play."""

    def reset(self) -> EngineResponse:
        """Begin an episode and return the opening response. Raise GameError if the game cannot be played."""

    def step(self, command: str) -> EngineResponse:
        """Play one command of an unfinished game and return the response. Raise GameError if the game fails."""

    def is_cached(self, command: str) -> bool:
        """Return whether the response to `command` is cached. Such a command needs no filter and no interpreter."""

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

    `before` is a sequence of actions that wins from the state before the command, and `after` one that wins from the
    state after the command. Each is None if TextWorld knows no such sequence. The first rule that applies decides:

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
