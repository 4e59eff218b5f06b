"""What an engine is: whatever plays one TextWorld game for one episode at a time. The types, no engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineResponse:
    """What a game answers to its start or to one command; texts are stripped at both ends."""

    text: str
    score: int
    """The running score, game points."""
    won: bool = False
    lost: bool = False
    admissible_commands: tuple[str, ...] = ()
    """Sorted; TextWorld lists some after the end too."""
    policy_commands: tuple[str, ...] | None = None
    """The commands that win from here, as TextWorld tracks them. This and what follows: None where not asked for."""
    intermediate_reward: int | None = None
    """1, 0 or -1: the command shortened that list, left its length, made it longer."""
    description: str | None = None
    inventory: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GameInfo:
    """What is the same at every moment of a game."""

    max_score: int
    objective: str
    walkthrough: tuple[str, ...]
    command_templates: tuple[str, ...]
    """The commands of its rules: `go east`, `take {o} from {c}`."""
    verbs: tuple[str, ...]
    entities: tuple[str, ...]
    """Names of everything: doors, things, rooms, directions."""
    typed_entities: tuple[tuple[str, str], ...]
    """The named things with the letter of their type, as in `command_templates`: `("antique trunk", "c")`."""


CONSTANT = ("command_templates", "verbs", "entities", "typed_entities")
"""Lists among the facts of a game that `info` gives where they are asked for, by TextWorld's names."""
INFOS = ("inventory", "description", "policy_commands", "intermediate_reward")
"""What an engine may be asked for beyond the rest, by TextWorld's names."""


def intermediate_reward(before: Sequence[str] | None, after: Sequence[str] | None, *, won: bool, lost: bool) -> int:
    """TextWorld's intermediate reward of a command, from the commands that win before and after it.

    TextWorld itself raises TypeError if no way to win is left (`after` is None); here that is -1.
    """
    if won or lost:
        return 1 if won else -1
    if before is None:
        return 0
    return -1 if after is None else (len(before) > len(after)) - (len(before) < len(after))


class Engine(Protocol):
    """Plays one episode at a time of one game. Its commands have passed the gatekeeper (`command_filter.py`)."""

    @property
    def facts(self) -> GameInfo:
        """What is the same at every moment."""

    def reset(self) -> EngineResponse:
        """Begin an episode. GameError where the game cannot be played (any more)."""

    def step(self, command: str) -> EngineResponse:
        """Play one command; not after the end. GameError where the game fails."""

    def remembers(self, command: str) -> bool:
        """Is the answer to this command known, from a time when it came through the gatekeeper?"""

    def close(self) -> None:
        """Free what is held; a second call does nothing, and `reset` begins anew."""
