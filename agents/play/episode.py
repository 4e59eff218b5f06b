"""The record of a finished episode and its JSON form.

The JSON form is lossless: `Episode.from_json(episode.to_json())` equals `episode`.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Self

from agents.protocol import AgentError, Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command of an episode, with the text before it and the score after it."""

    observation: str
    """The game's text before the command. At the first step, the opening text."""
    admissible_commands: tuple[str, ...]
    """The admissible commands, sorted."""
    decision: Decision
    reward: float
    """Shaped reward of the command."""
    score: float
    """The game's score after the command, game points."""
    advantage: float | None = None
    """Advantage of the command in the update, units of reward. It is None if no update used the command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """A finished episode."""

    index: int
    """Number of the episode, unique in a run."""
    game: str
    """Canonical name of the game."""
    seed: int
    """Seed of the environment's reset."""
    steps: tuple[Step, ...]
    final_observation: str
    """The game's response to the last command."""
    score: float
    """Final score in game points, without reward shaping."""
    max_score: float | None
    """The game's maximum score, game points. It is None if the maximum is unknown."""
    won: bool
    lost: bool
    terminated: bool
    """Whether the game is over."""
    truncated: bool
    """Whether the turn limit or an error ended the episode."""
    moves: int
    """Number of turns, as the game counts them."""
    error: str | None = None
    """Message of the game's error, or None if there was no error."""

    @property
    def opening(self) -> str:
        """The game's opening text."""
        return self.steps[0].observation if self.steps else self.final_observation

    @property
    def reward(self) -> float:
        """Undiscounted sum of the episode's shaped rewards."""
        return sum(step.reward for step in self.steps)

    def to_json(self) -> dict[str, Any]:
        """Return the episode as dicts and lists that JSON can represent."""
        data: dict[str, Any] = _adapter().dump_python(self, mode="json")
        return data

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Rebuild an episode from the data that `to_json` returned.

        Raises:
            AgentError: a field is missing or unknown, has a wrong type or is not finite. The message names the field.
        """
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
    """Return the field names that only the episode or only the data has. Nested fields are included."""

    def names(value: object) -> set[str]:
        if isinstance(value, dict):
            return set(value).union(*(names(item) for item in value.values()))
        return set().union(*(names(item) for item in value)) if isinstance(value, list) else set()

    return ", ".join(sorted(names(episode.to_json()) ^ names(data))) or "numbers are written otherwise"


@cache
def _adapter() -> Any:
    """Return Pydantic's validator of `Episode`. Building it takes 0.1 s, so it is built at first use."""
    import pydantic

    return pydantic.TypeAdapter(Episode)
