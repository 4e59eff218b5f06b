"""The interface of engines. An engine plays one text game."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineResponse:
    """The response of a game to a command. The last four fields are None unless requested."""

    text: str  # texts are stripped at both ends
    score: int  # the total of the episode, in game points
    won: bool = False
    lost: bool = False
    ended: bool = False  # the story has ended without telling whether the player has won
    admissible_commands: tuple[str, ...] = ()  # sorted; TextWorld lists some even after the end
    policy_commands: tuple[str, ...] | None = None  # commands that win from this state
    intermediate_reward: int | None = None
    description: str | None = None
    inventory: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GameInfo:
    """The constant properties of a game."""

    max_score: int  # 0 if it is unknown or unlimited
    objective: str = ""
    walkthrough: tuple[str, ...] = ()
    command_templates: tuple[str, ...] = ()  # such as `go east` or `take {o} from {c}`
    verbs: tuple[str, ...] = ()
    entities: tuple[str, ...] = ()  # the names of all doors, objects, rooms and directions
    typed_entities: tuple[tuple[str, str], ...] = ()  # name and letter of the type, such as ("antique trunk", "c")


BANNER_END = "$$$$$$$$ \\$$$$$$$ \n"  # the last line of the banner that every game of TextWorld prints at its start
# the fields of `GameInfo` and of `EngineResponse` that can be requested; the names are TextWorld's
CONSTANT_INFOS = ("command_templates", "verbs", "entities", "typed_entities")
INFOS = ("inventory", "description", "policy_commands", "intermediate_reward")


class Engine(ABC):
    """Plays one game, one episode at a time. Does not reject unsafe commands."""

    game_info: GameInfo

    @abstractmethod
    def reset(self) -> EngineResponse:
        """Begin an episode. Raise GameError if the game cannot be played."""

    @abstractmethod
    def step(self, command: str) -> EngineResponse:
        """Play one command. Raise GameError if the game fails."""

    def is_cached(self, command: str) -> bool:
        """Return whether the response to `command` is cached."""
        return False

    @abstractmethod
    def close(self) -> None:
        """Free resources. The engine can be reset afterwards."""


def game_info(game: Any) -> GameInfo:
    """Convert TextWorld's `Game` to a `GameInfo`."""
    return GameInfo(
        max_score=int(game.max_score) if math.isfinite(game.max_score) else 0,
        objective=game.objective,
        walkthrough=tuple(game.metadata.get("walkthrough") or ()),
        command_templates=tuple(game.command_templates),
        verbs=tuple(game.verbs),
        entities=tuple(game.entity_names),
        typed_entities=tuple(map(tuple, game.objects_names_and_types)),
    )


def intermediate_reward(
    policy_before: Sequence[Any] | None, policy_after: Sequence[Any] | None, *, won: bool, lost: bool
) -> int:
    """Return 1 for progress towards winning, -1 for a step back, and otherwise 0.

    Each policy is a sequence of actions that wins, or None.
    """
    if won or lost:
        return 1 if won else -1
    if policy_before is None:
        return 0
    if policy_after is None:  # TextWorld itself raises TypeError
        return -1
    return (len(policy_before) > len(policy_after)) - (len(policy_before) < len(policy_after))
