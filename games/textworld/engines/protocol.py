"""The interface of an engine, which plays one TextWorld game, one episode at a time, and the types it returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineResponse:
    """The response of a game to its start or to one command; texts are stripped at both ends.

    `policy_commands` and the fields after it are None where they were not asked for.
    """

    text: str
    score: int
    """The running score, in game points."""
    won: bool = False
    lost: bool = False
    admissible_commands: tuple[str, ...] = ()
    """Sorted; TextWorld lists some after the end too."""
    policy_commands: tuple[str, ...] | None = None
    """The commands that win from here, as TextWorld tracks them."""
    intermediate_reward: int | None = None
    """See `intermediate_reward`."""
    description: str | None = None
    inventory: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GameInfo:
    """What is constant during a game."""

    max_score: int
    objective: str = ""
    walkthrough: tuple[str, ...] = ()
    command_templates: tuple[str, ...] = ()
    """The commands of its rules: `go east`, `take {o} from {c}`."""
    verbs: tuple[str, ...] = ()
    entities: tuple[str, ...] = ()
    """Names of everything: doors, things, rooms, directions."""
    typed_entities: tuple[tuple[str, str], ...] = ()
    """The named things with the letter of their type, as in `command_templates`: `("antique trunk", "c")`."""


CONSTANT = ("command_templates", "verbs", "entities", "typed_entities")
"""The lists of `GameInfo` that `info` holds where they are asked for, by TextWorld's names."""
INFOS = ("inventory", "description", "policy_commands", "intermediate_reward")
"""What an engine can be asked for in addition, by TextWorld's names."""


class Engine(Protocol):
    """Plays one game, one episode at a time. Its commands have passed the filter (`command_filter.py`)."""

    @property
    def game_info(self) -> GameInfo:
        """What is constant during the game."""

    def reset(self) -> EngineResponse:
        """Begin an episode. Raises GameError where the game cannot be played (any more)."""

    def step(self, command: str) -> EngineResponse:
        """Play one command; invalid after the end. Raises GameError where the game fails."""

    def is_cached(self, command: str) -> bool:
        """Return whether the response to this command is known, so that it needs neither filter nor interpreter."""

    def close(self) -> None:
        """Free all resources; a second call does nothing, and `reset` allocates them again."""


def game_info(game: Any) -> GameInfo:
    """Return the constant part of a TextWorld `Game`."""
    return GameInfo(
        max_score=int(game.max_score),
        objective=game.objective,
        walkthrough=tuple(game.metadata.get("walkthrough") or ()),
        command_templates=tuple(game.command_templates),
        verbs=tuple(game.verbs),
        entities=tuple(game.entity_names),
        typed_entities=tuple(map(tuple, game.objects_names_and_types)),
    )


def intermediate_reward(before: Sequence[Any] | None, after: Sequence[Any] | None, *, won: bool, lost: bool) -> int:
    """Return 1, 0 or -1: the command shortened the winning policy, kept its length or made it longer.

    The policies before and after the command are None where TextWorld knows none. TextWorld itself raises TypeError
    where `after` is None; here the result is -1.
    """
    if won or lost:
        return 1 if won else -1
    if before is None:
        return 0
    return -1 if after is None else (len(before) > len(after)) - (len(before) < len(after))
