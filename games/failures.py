"""Failures of episodes, and when they end a run."""

from collections.abc import Sequence

from games.errors import EpisodeError, FatalGameError, GameError
from games.parameters import readable

ALIKE = 3
"""Play stops after this number of successive episodes that fail alike."""
IN_A_ROW = 10
"""Play stops after this number of successive episodes that fail for any reasons."""
ADVICE = "correct the game, or choose another"


class Failures:
    """The failures of the episodes that are played together, for example in a training run.

    Attributes:
        episodes: number of episodes that have ended or could not start.
        count: number of these episodes that failed.
        last: the game and the reason of the last failure.
    """

    def __init__(self) -> None:
        self.episodes, self.count, self.last = 0, 0, ""
        self._failed_starts: list[str] = []  # kinds of the failures to start since the last start
        self._failed_ends: list[str] = []  # kinds of the other failures since the last episode without an error

    @classmethod
    def joined(cls, parts: Sequence["Failures"]) -> "Failures":
        """Return the failures of all processes. The last failure is that of the last process with a failure."""
        whole = cls()
        whole.episodes, whole.count = sum(part.episodes for part in parts), sum(part.count for part in parts)
        whole.last = next((part.last for part in reversed(parts) if part.count), "")
        return whole

    def started(self) -> None:
        """Record that an episode has started. Only the failures to start after it are in a row.

        Several episodes are live at once, so failures to start may follow each other before any of them ends.
        """
        self._failed_starts = []

    def record(self, game: str, error: str | None, kind: str, *, at_start: bool = False) -> None:
        """Count an episode of `game` that has ended or could not start.

        Args:
            error: why the episode failed, or None if it succeeded.
            kind: the result of `error_kind`.
            at_start: whether the episode could not start.

        Raises:
            FatalGameError: the last `ALIKE` episodes failed alike, or the last `IN_A_ROW` episodes failed.
        """
        self.episodes += 1
        if error is None:
            self._failed_ends = []
            return
        self.count += 1
        kinds = self._failed_starts if at_start else self._failed_ends
        kinds.append(kind)
        self.last = error if game.partition("?")[0] in error else f"{readable(game)}: {error}"
        if len(kinds) >= ALIKE and len(set(kinds[-ALIKE:])) == 1:
            raise FatalGameError(f"{ALIKE} episodes in a row failed alike; the last: {self.last}; {ADVICE}")
        if len(kinds) == IN_A_ROW:
            raise FatalGameError(f"{IN_A_ROW} episodes in a row failed; the last: {self.last}; {ADVICE}")

    def check(self) -> None:
        """Raise FatalGameError if there were episodes and all of them failed."""
        if self.count and self.count == self.episodes:
            raise FatalGameError(f"{self.summary}; {ADVICE}")

    @property
    def summary(self) -> str:
        return f"{self.count} of {self.episodes} episodes failed; the last: {self.last}"


def error_kind(error: GameError) -> str:
    """Return a name of the cause of an error. Errors with equal names count as alike."""
    return error.kind if isinstance(error, EpisodeError) else type(error).__name__
