"""Count failed episodes, and stop a run if too many fail in a row."""

from collections.abc import Sequence
from typing import Self

from games.errors import EpisodeError, FatalGameError, GameError
from games.parameters import readable

# Play stops after so many consecutive failures of the same kind (`error_kind`) or of any kind. If `live` episodes are
# played at a time, both limits are raised by `live - 1`: when the first episode of a flaky game fails, the others are
# already running and may fail, too. The limits for failed starts are not raised.
ALIKE, IN_A_ROW = 3, 10
ADVICE = "correct the game, or choose another"


class Failures:
    """Counts failed episodes. `live` episodes are played at the same time.

    Attributes:
        episodes: number of episodes that have ended or could not start.
        count: number of these episodes that failed.
        last: game and reason of the last failure.
    """

    def __init__(self, live: int = 1) -> None:
        self.live = live
        self.episodes, self.count, self.last = 0, 0, ""
        self._failed_starts: list[str] = []  # kinds of the failed starts since an episode last started
        self._failed_ends: list[str] = []  # kinds of the other failures since the last episode without an error

    @classmethod
    def total(cls, parts: Sequence[Self]) -> Self:
        """Return the sum over several processes."""
        total = cls()
        for part in parts:
            total.episodes, total.count = total.episodes + part.episodes, total.count + part.count
            total.last = part.last or total.last
        return total

    def started(self) -> None:
        """Reset the count of consecutive failed starts."""
        self._failed_starts = []

    def record(self, game: str, error: str | None, kind: str, *, at_start: bool = False) -> None:
        """Count an episode that has ended or could not start. `error` is None if it succeeded.

        Raise FatalGameError if too many have failed in a row.
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
        """Raise FatalGameError if all episodes failed."""
        if self.count and self.count == self.episodes:
            raise FatalGameError(f"{self.summary}; {ADVICE}")

    @property
    def summary(self) -> str:
        return f"{self.count} of {self.episodes} episodes failed; the last: {self.last}"


def error_kind(error: GameError) -> str:
    """Return the `kind` of an EpisodeError, or the class name of another error."""
    return error.kind if isinstance(error, EpisodeError) else type(error).__name__
