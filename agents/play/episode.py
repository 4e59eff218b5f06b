"""What is kept of a finished episode, and its JSON: one strict record, nothing guessed.

`Episode.from_json(episode.to_json())` is the episode again. A missing or unknown field, a wrong type, or a
number that is not finite is refused. Files of episodes are `agents/play/transcript.py`'s affair.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Self

from agents.protocol import AgentError, Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command of an episode, and what stood before and came after it."""

    observation: str
    """The game's text before the command; the opening text at the first step."""
    admissible_commands: tuple[str, ...]
    """What the game offered, sorted."""
    decision: Decision
    reward: float
    """What the command earned, in the units the learner sees (shaped)."""
    score: float
    """The game's running score after the command, game points."""
    advantage: float | None = None
    """Advantage of the command in the update that learned from it, units of reward; None before one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One game from its start to its end."""

    index: int
    """Number of the episode; never used again in a run."""
    game: str
    """Canonical name of the game."""
    seed: int
    """What the env was reset with."""
    steps: tuple[Step, ...]
    final_observation: str
    """The game's answer to the last command."""
    score: float
    """Final score, game points (not shaped)."""
    max_score: float | None
    """The most that the game can give; None where it does not say."""
    won: bool
    lost: bool
    terminated: bool
    """The game is over."""
    truncated: bool
    """The turn limit, or an error, cut the episode; a game goes on after it."""
    moves: int
    """Turns as the game counts them."""
    error: str | None = None
    """Why the game could not go on; None as it should be."""

    @property
    def opening(self) -> str:
        """The text that the game began with."""
        return self.steps[0].observation if self.steps else self.final_observation

    @property
    def reward(self) -> float:
        """Undiscounted sum of the (shaped) rewards."""
        return sum(step.reward for step in self.steps)

    def to_json(self) -> dict[str, Any]:
        """The episode as what JSON knows: dicts, lists, str, numbers, booleans, None."""
        data: dict[str, Any] = _adapter().dump_python(self, mode="json")
        return data

    @classmethod
    def from_json(cls, data: object) -> Self:
        """The episode that `to_json` gave; AgentError, naming the field, for anything else."""
        import json

        import pydantic

        try:
            episode: Self = _adapter().validate_json(json.dumps(data, allow_nan=False), strict=True)
        except pydantic.ValidationError as failure:
            first = failure.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "episode"
            raise AgentError(f"not an episode: {place}: {first['msg']}") from None
        except (TypeError, ValueError) as failure:
            raise AgentError(f"not an episode: {failure}") from None
        if episode.to_json() != data:
            raise AgentError(f"not an episode: fields are missing or unknown: {_difference(episode, data)}")
        return episode


def _difference(episode: Episode, data: object) -> str:
    """The field names in which data and a whole episode differ, at any depth."""

    def names(value: object) -> set[str]:
        if isinstance(value, dict):
            return set(value).union(*(names(item) for item in value.values()))
        return set().union(*(names(item) for item in value)) if isinstance(value, list) else set()

    return ", ".join(sorted(names(episode.to_json()) ^ names(data))) or "numbers are written otherwise"


@cache
def _adapter() -> Any:
    """Pydantic's checker for the record, made at the first use (0.1 s)."""
    import pydantic

    return pydantic.TypeAdapter(Episode)
