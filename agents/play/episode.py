"""The record of a finished episode, and its JSON form. `Episode.from_json(episode.to_json())` equals the episode."""

from dataclasses import dataclass
from functools import cache
from typing import Any, Self

from agents.protocol import AgentError, Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command of an episode, with the text before it and the score after it."""

    observation: str
    """The game's text before the command; the opening text at the first step."""
    admissible_commands: tuple[str, ...]
    """The admissible commands, sorted."""
    decision: Decision
    reward: float
    """Shaped reward of the command."""
    score: float
    """The game's score after the command, game points."""
    advantage: float | None = None
    """Advantage of the command in the update, units of reward; None without an update."""


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
    """Final score, game points (not shaped)."""
    max_score: float | None
    """The game's maximum score; None if unknown."""
    won: bool
    lost: bool
    terminated: bool
    """The game is over."""
    truncated: bool
    """The turn limit or an error ended the episode."""
    moves: int
    """Turns as the game counts them."""
    error: str | None = None
    """Why the game failed; None if it did not."""

    @property
    def opening(self) -> str:
        """The game's opening text."""
        return self.steps[0].observation if self.steps else self.final_observation

    @property
    def reward(self) -> float:
        """Undiscounted sum of the shaped rewards."""
        return sum(step.reward for step in self.steps)

    def to_json(self) -> dict[str, Any]:
        """The episode as JSON-able dicts and lists."""
        data: dict[str, Any] = _adapter().dump_python(self, mode="json")
        return data

    @classmethod
    def from_json(cls, data: object) -> Self:
        """The episode of `to_json`.

        Raises:
            AgentError: a field is missing or unknown, has a wrong type or is not finite; the message names it.
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
    """The field names, at any depth, that are in only one of the episode and the data."""

    def names(value: object) -> set[str]:
        if isinstance(value, dict):
            return set(value).union(*(names(item) for item in value.values()))
        return set().union(*(names(item) for item in value)) if isinstance(value, list) else set()

    return ", ".join(sorted(names(episode.to_json()) ^ names(data))) or "numbers are written otherwise"


@cache
def _adapter() -> Any:
    """Pydantic's validator of the record, built at first use because it takes 0.1 s."""
    import pydantic

    return pydantic.TypeAdapter(Episode)
