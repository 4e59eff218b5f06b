"""The content of the evaluation card's JSON file."""

from typing import Any, Literal

from typing_extensions import TypedDict

from agents.play.evaluate import Estimate


class StoredGames(TypedDict):
    """The held-out games of a task: level, seed and hash of each game."""

    of: str
    games: list[tuple[int, int, str]]


class StoredEvaluation(TypedDict):
    """The measures of a row."""

    episodes: int
    errors: int
    success_rate: Estimate
    normalized_score: Estimate | None
    steps: Estimate
    steps_to_win: Estimate | None
    entropy: Estimate | None


class StoredRow(TypedDict):
    """A row of the card."""

    task: str
    variant: Literal["told", "untold"]
    agent: str
    how: Literal["sampled", "greedy"]
    of: dict[str, Any]
    games: int
    trained_on: int
    evaluation: StoredEvaluation


class StoredCard(TypedDict):
    """The whole file."""

    episodes: int
    games: dict[str, StoredGames]
    rows: list[StoredRow]
