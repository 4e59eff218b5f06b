"""The content of the evaluation card's JSON file."""

from typing import Any, Literal

from typing_extensions import TypedDict

from agents.play.evaluate import Estimate


class StoredGames(TypedDict):
    """The held-out games of a task.

    Attributes:
        of: hash of all fields that determine the task's games (`held_out.identity`).
        games: level, seed and canonical hash of each game.
    """

    of: str
    games: list[tuple[int, int, str]]


class StoredEvaluation(TypedDict):
    """The measures of an evaluation that the card stores (`rows.STORED`)."""

    episodes: int
    errors: int
    success_rate: Estimate
    normalized_score: Estimate | None
    steps: Estimate
    steps_to_win: Estimate | None
    entropy: Estimate | None


class StoredRow(TypedDict):
    """A row of the card: the results of one agent on one task, in one variant and one mode of play.

    Attributes:
        variant: "told" if the opening text states the objective, "untold" if it does not.
        how: the mode of play, "sampled" or "greedy".
        of: what the results depend on: format, hash of the games, turn limit, and digest of the agent.
        games: number of games.
        trained_on: number of these games that the agent was trained on.
    """

    task: str
    variant: Literal["told", "untold"]
    agent: str
    how: Literal["sampled", "greedy"]
    of: dict[str, Any]
    games: int
    trained_on: int
    evaluation: StoredEvaluation


class StoredCard(TypedDict):
    """The whole content of the card's JSON file.

    Attributes:
        episodes: number of episodes that a sampled agent plays per task.
        games: the held-out games by task name.
    """

    episodes: int
    games: dict[str, StoredGames]
    rows: list[StoredRow]
