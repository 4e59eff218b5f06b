"""Count failed episodes, and stop a run if too many fail in a row."""

from collections.abc import Sequence
from typing import Self

from games.errors import EpisodeError, FatalGameError, GameError
from games.parameters import readable

# Play stops after so many consecutive failures of the same kind (`error_kind`) or of any kind. If `parallel` episodes
# are played at a time, both limits are raised by `parallel - 1`: when the first episode of a flaky game fails, the
# others are already running and may fail, too. The limits for failed starts are not raised.
ALIKE, IN_A_ROW = 3, 10
ADVICE = "correct the game, or choose another"


class Failures:
    """Counts failed episodes. `parallel` is the number of episodes that run at the same time.

    Attributes:
        episodes: number of episodes so far.
        count: number of failed episodes.
        last: game and error message of the last failure.
    """

    def __init__(self, parallel: int = 1) -> None:
        self.parallel = parallel
        self.episodes, self.count, self.last = 0, 0, ""
        self._failed_starts: list[str] = []  # kinds of the failed starts since an episode last started
        self._failed_ends: list[str] = []  # kinds of the other failures since the last episode without an error

    @classmethod
    def total(cls, counters: Sequence[Self]) -> Self:
        """Return the sum of the counters of several processes."""
        total = cls()
        for counter in counters:
            total.episodes, total.count = total.episodes + counter.episodes, total.count + counter.count
            total.last = counter.last or total.last
        return total

    def started(self) -> None:
        """Reset the count of consecutive failed starts."""
        self._failed_starts = []

    def record(self, game: str, error: str | None, kind: str, *, at_start: bool = False) -> None:
        """Count one episode. `error` is None if the episode succeeded.

        Raise FatalGameError if too many episodes have failed in a row.
        """
        self.episodes += 1
        if error is None:
            self._failed_ends = []
            return
        self.count += 1
        kinds = self._failed_starts if at_start else self._failed_ends
        kinds.append(kind)
        noun = "starts" if at_start else "episodes"
        self.last = error if game.partition("?")[0] in error else f"{readable(game)}: {error}"
        alike_limit, row_limit = (limit + (0 if at_start else self.parallel - 1) for limit in (ALIKE, IN_A_ROW))
        if len(kinds) >= alike_limit and len(set(kinds[-alike_limit:])) == 1:
            raise FatalGameError(f"{alike_limit} {noun} in a row failed alike; the last: {self.last}; {ADVICE}")
        if len(kinds) == row_limit:
            raise FatalGameError(f"{row_limit} {noun} in a row failed; the last: {self.last}; {ADVICE}")

    def check(self) -> None:
        """Raise FatalGameError if all episodes failed."""
        if self.count and self.count == self.episodes:
            raise FatalGameError(f"{self.summary}; {ADVICE}")

    @property
    def summary(self) -> str:
        return f"{self.count} of {self.episodes} episodes failed; the last: {self.last}"


def error_kind(error: GameError) -> str:
    """Return the `kind` of an EpisodeError, or the class name of any other error."""
    return error.kind if isinstance(error, EpisodeError) else type(error).__name__
