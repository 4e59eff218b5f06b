"""Records of finished episodes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

from agents.protocol import AgentError, Decision

WITHOUT_WINS = frozenset({"ipd", "completion"})  # games that cannot be won, so their `won` is False


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command of an episode.

    Attributes:
        observation: text before the command.
        reward: reward of the command, after reward shaping.
        score: game score after the command.
        advantage: advantage of the command. None if no update used the command.
    """

    observation: str
    admissible_commands: tuple[str, ...]
    decision: Decision
    reward: float
    score: float
    advantage: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """A finished episode.

    Attributes:
        index: number of the episode, unique in a run.
        game: name of the game.
        score: final game score, without reward shaping.
        won: None if the game does not report wins.
        truncated: whether the turn limit or an error ended the episode.
        moves: number of turns counted by the game.
    """

    index: int
    game: str
    seed: int
    steps: tuple[Step, ...]
    final_observation: str
    score: float
    max_score: float | None
    won: bool | None
    lost: bool
    terminated: bool
    truncated: bool
    moves: int
    error: str | None = None

    @property
    def reward(self) -> float:
        """Undiscounted sum of the shaped rewards."""
        return sum(step.reward for step in self.steps)

    @property
    def with_expert(self) -> bool:
        """Whether an expert played at least one turn."""
        return any(step.decision.by_expert for step in self.steps)

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = _adapter().dump_python(self, mode="json")
        for step in data["steps"]:
            if not step["decision"]["by_expert"]:
                del step["decision"]["by_expert"]
        return data

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Build an episode from a dict that `to_json` returned. Raise AgentError for invalid data."""
        import pydantic

        try:
            episode: Self = _adapter().validate_json(json.dumps(data, allow_nan=False), strict=True)
        except pydantic.ValidationError as failure:
            first_error = failure.errors()[0]
            location = ".".join(str(part) for part in first_error["loc"]) or "episode"
            raise AgentError(f"not an episode: {location}: {first_error['msg']}") from None
        except (TypeError, ValueError) as failure:
            raise AgentError(f"not an episode: {failure}") from None
        if (converted := episode.to_json()) != data:
            differing = (
                ", ".join(sorted(_field_names(converted) ^ _field_names(data))) or "numbers are written otherwise"
            )
            raise AgentError(f"not an episode: fields are missing or unknown: {differing}")
        return episode


def wins(episodes: Sequence[Episode], more_episodes: Sequence[Episode] = ()) -> list[bool]:
    """For each episode of a game that reports wins, return whether the episode was won."""
    # a game reports wins if `won` is not None in one of its episodes
    games = {e.game.partition("?")[0] for e in (*episodes, *more_episodes) if e.won is not None} - WITHOUT_WINS
    return [bool(e.won) for e in episodes if e.game.partition("?")[0] in games]


def _field_names(data: object) -> set[str]:
    if isinstance(data, dict):
        return set(data).union(*map(_field_names, data.values()))
    return set().union(*map(_field_names, data)) if isinstance(data, list) else set()


@cache
def _adapter() -> Any:
    import pydantic

    return pydantic.TypeAdapter(Episode)  # takes 0.1 s
