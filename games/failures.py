"""Count failed episodes, and stop a run if too many fail in a row."""

from collections.abc import Sequence
from typing import Self

from games.errors import EpisodeError, FatalGameError, GameError
from games.parameters import readable

ALIKE = 3
"""Play stops after this number of consecutive failures of the same kind (`error_kind`)."""
IN_A_ROW = 10
"""Play stops after this number of consecutive failures of any kind.

If `live` episodes are played at a time, the limits `ALIKE` and `IN_A_ROW` are raised by `live - 1`. When the first
episode of a flaky game fails, the other `live - 1` episodes are already running and may fail, too. The limits are not
raised for episodes that fail to start, which are counted separately.
"""
ADVICE = "correct the game, or choose another"


class Failures:
    """Counts the failures among episodes that are played together, for example in a training run.

    Args:
        live: number of episodes that are played at a time.

    Attributes:
        episodes: number of episodes that have ended or could not start.
        count: number of these episodes that failed.
        last: the game and the reason of the last failure.
    """

    def __init__(self, live: int = 1) -> None:
        self.live = live
        self.episodes, self.count, self.last = 0, 0, ""
        self._failed_starts: list[str] = []  # kinds of the failures to start since the last start
        self._failed_ends: list[str] = []  # kinds of the other failures since the last episode without an error

    @classmethod
    def total(cls, parts: Sequence[Self]) -> Self:
        """Return the sum of failures that were counted separately, for example by several processes."""
        total = cls()
        for part in parts:
            total.episodes, total.count = total.episodes + part.episodes, total.count + part.count
            total.last = part.last or total.last
        return total

    def started(self) -> None:
        """Record that an episode has started. This resets the count of consecutive failed starts.

        Failed starts are counted separately from other failures, because many starts may fail before any running
        episode ends.
        """
        self._failed_starts = []

    def record(self, game: str, error: str | None, kind: str, *, at_start: bool = False) -> None:
        """Count an episode of `game` that has ended or could not start.

        Args:
            error: why the episode failed, or None if it succeeded.
            kind: the result of `error_kind`.
            at_start: whether the episode could not start.

        Raises:
            FatalGameError: too many episodes in a row failed. `ALIKE` limits the failures of the same kind, and
                `IN_A_ROW` those of any kind.
        """
        self.episodes += 1
        if error is None:
            self._failed_ends = []
            return
        self.count += 1
        kinds = self._failed_starts if at_start else self._failed_ends
        kinds.append(kind)
        what = "starts" if at_start else "episodes"
        self.last = error if game.partition("?")[0] in error else f"{readable(game)}: {error}"
        alike, in_a_row = (number + (0 if at_start else self.live - 1) for number in (ALIKE, IN_A_ROW))
        if len(kinds) >= alike and len(set(kinds[-alike:])) == 1:
            raise FatalGameError(f"{alike} {what} in a row failed alike; the last: {self.last}; {ADVICE}")
        if len(kinds) == in_a_row:
            raise FatalGameError(f"{in_a_row} {what} in a row failed; the last: {self.last}; {ADVICE}")

    def check(self) -> None:
        """Raise FatalGameError if there were episodes and all of them failed."""
        if self.count and self.count == self.episodes:
            raise FatalGameError(f"{self.summary}; {ADVICE}")

    @property
    def summary(self) -> str:
        return f"{self.count} of {self.episodes} episodes failed; the last: {self.last}"


def error_kind(error: GameError) -> str:
    """Return the kind of an error: the `kind` of an EpisodeError, or the class of any other error.

    `Failures` uses it to recognize that the same failure occurs again.
    """
    return error.kind if isinstance(error, EpisodeError) else type(error).__name__
