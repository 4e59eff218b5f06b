"""Read logs of training runs. A log is a JSON Lines file. Each line has the number of its iteration, counted from 0."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from agents.protocol import AgentError
from games.untrusted_files import as_object, is_present, parse_json, read_lines, read_object


class LogLine(NamedTuple):
    """One line of a log. `where` names the file and the line, and `row` is the JSON object in `text`."""

    where: str
    iteration: int
    row: dict[str, Any]
    text: str


def read_log(path: Path, *, cut: bool = False) -> Iterator[LogLine]:
    """Yield the lines of a log. Raise `AgentError` for a damaged line.

    An incomplete last line is omitted if `cut` is true, and is an error otherwise.
    """
    for where, text in read_lines(path, complete=not cut, error=AgentError):
        if not text.endswith("\n"):
            return
        yield parse_line(where, text)


def parse_line(where: str, text: str) -> LogLine:
    """Parse a log line. If it is damaged, raise `AgentError` with `where` in the message."""
    row = as_object(parse_json(text, where, AgentError), where, AgentError)
    iteration = row.get("iteration")
    if type(iteration) is not int:
        raise AgentError(f"{where} is damaged: expected an iteration, a whole number, got {iteration!r:.60}")
    return LogLine(where, iteration, row, text)


def complete(lines: Iterable[LogLine], path: Path, *, each: int | None = None) -> Iterator[LogLine]:
    """Yield `lines`. Raise `AgentError` if a line is missing, repeated or out of order.

    Iterations must count up from 0. Each must have `each` lines or, if `each` is None, as many lines as the first one.

    The transcript of a run is an exception, because the run may be resumed with another number of processes. Each of
    its iterations may have any multiple of the number of lines that one process writes.
    """
    order = IterationOrder(path, each)
    for line in lines:
        order.add(line.where, line.iteration)
        yield line
    order.finish()


class IterationOrder:
    """Checks the order of log lines one line at a time (see `complete`)."""

    def __init__(self, path: Path, each: int | None = None) -> None:
        self._path, self._each = path, each
        self._per_process = None if each else episodes_of_a_process(path.parent)
        self._counts = list[int]()

    def add(self, where: str, iteration: int) -> None:
        """Check the iteration of the next line. If an iteration begins, check how many lines the previous one had."""
        if iteration == len(self._counts):
            self.finish()
            self._counts.append(0)
        elif not self._counts or iteration != len(self._counts) - 1:
            raise AgentError(f"{where} is damaged: expected iteration {len(self._counts)}, got {iteration}")
        self._counts[-1] += 1

    def finish(self) -> None:
        """Check how many lines the last iteration has."""
        if not self._counts:
            return
        last, count, wanted = len(self._counts) - 1, self._counts[-1], self._each or self._counts[0]
        if count != wanted and not (self._per_process and count % self._per_process == 0):
            raise AgentError(f"{self._path} is damaged: iteration {last} has {count} lines, expected {wanted}")


def episodes_of_a_process(folder: Path) -> int | None:
    """Return the number of episodes that each process of a run plays in an iteration.

    Return None if the settings of the run are missing or damaged.
    """
    from agents.config_groups import RolloutConfig

    path = folder / "settings.json"
    if not is_present(path):
        return None
    with suppress(AgentError, ValueError):  # damaged settings are reported where they are needed
        return RolloutConfig.model_validate(read_object(path, error=AgentError).get("rollout")).own_episodes
    return None
