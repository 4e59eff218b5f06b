"""Read logs of training runs: JSON Lines in which each line names an iteration, counted from 0."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from agents.protocol import AgentError
from games.untrusted_files import as_object, is_present, parse_json, read_lines, read_object


class LogLine(NamedTuple):
    """One line of a log. `where` names the file and the line, and `row` is the JSON object in `text`."""

    where: str
    iteration: int
    row: dict[str, Any]
    text: str


class Placed(Protocol):
    """A line whose order `IterationOrder` can check. `where` names the file and the line, as in `LogLine`."""

    @property
    def where(self) -> str: ...

    @property
    def iteration(self) -> int: ...


T = TypeVar("T", bound=Placed)


def read_log(path: Path, *, cut: bool = False) -> Iterator[LogLine]:
    """Yield the lines of a log. Raise `AgentError` for a damaged line.

    A killed process leaves an incomplete last line. With `cut`, such a line is omitted. Otherwise, it is an error.
    """
    for where, text in read_lines(path, complete=not cut, error=AgentError):
        if not text.endswith("\n"):
            return
        yield parse_line(where, text)


def parse_line(where: str, text: str) -> LogLine:
    """Parse the text of a log line. If it is damaged, raise `AgentError` with its place `where` in the message."""
    row = as_object(parse_json(text, where, AgentError), where, AgentError)
    iteration = row.get("iteration")
    if type(iteration) is not int:
        raise AgentError(f"{where} is damaged: expected an iteration, a whole number, got {iteration!r:.60}")
    return LogLine(where, iteration, row, text)


def complete(lines: Iterable[T], path: Path, *, each: int | None = None) -> Iterator[T]:
    """Yield `lines`. Raise `AgentError` as soon as a line is found to be missing, repeated or out of order.

    Iterations must count up from 0, with `each` lines per iteration. If `each` is None, every iteration must have as
    many lines as the first one. In the folder of a run, the number of lines may also be any multiple of the number of
    episodes that one process plays in an iteration, because a run may be resumed with another number of processes.
    """
    order = IterationOrder(path, each)
    for line in lines:
        order.add(line)
        yield line
    order.finish()


class IterationOrder:
    """Checks the order of log lines one line at a time (see `complete`)."""

    def __init__(self, path: Path, each: int | None = None) -> None:
        self._path, self._each = path, each
        self._per_process = None if each else episodes_of_a_process(path.parent)
        self._counts = list[int]()

    def add(self, line: Placed) -> None:
        """Check the next line.

        Raise `AgentError` if its iteration is out of order, or if the iteration before has a wrong number of lines.
        """
        if line.iteration == len(self._counts):
            self.finish()
            self._counts.append(0)
        elif line.iteration != len(self._counts) - 1:
            raise AgentError(f"{line.where} is damaged: expected iteration {len(self._counts)}, got {line.iteration}")
        self._counts[-1] += 1

    def finish(self) -> None:
        """Check the number of lines of the last iteration. Raise `AgentError` if it is wrong."""
        counts = self._counts
        if counts and counts[-1] != (wanted := counts[0] if self._each is None else self._each):
            last = len(counts) - 1
            if self._per_process and counts[-1] % self._per_process == 0:
                return
            raise AgentError(f"{self._path} is damaged: iteration {last} has {counts[-1]} lines, expected {wanted}")


def episodes_of_a_process(folder: Path) -> int | None:
    """Return the number of episodes that each process of the run in `folder` plays in an iteration.

    Return None if the run's settings are missing or invalid.
    """
    from agents.rollout_config import RolloutConfig

    path = folder / "settings.json"
    if not is_present(path):
        return None
    with suppress(AgentError, ValueError):  # damaged settings are reported where they are needed
        rollout = read_object(path, error=AgentError).get("rollout")
        return RolloutConfig.model_validate(rollout).own_episodes
    return None
