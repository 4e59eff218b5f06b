"""Reads the logs of training runs. Iterations count from 0."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from agents.protocol import AgentError
from games.untrusted_files import as_object, is_present, parse_json, read_lines, read_object


class LogLine(NamedTuple):
    """A line of a log. `location` names the file and the line. `row` is the parsed `text`."""

    location: str
    iteration: int
    row: dict[str, Any]
    text: str


def read_log(path: Path, *, allow_incomplete: bool = False) -> Iterator[LogLine]:
    """Yield the lines of a log. `allow_incomplete` skips an incomplete last line."""
    for location, text in read_lines(path, complete=not allow_incomplete, error=AgentError):
        if not text.endswith("\n"):
            return
        yield parse_line(location, text)


def parse_line(location: str, text: str) -> LogLine:
    """Parse a log line. Raise `AgentError` if the line is damaged."""
    row = as_object(parse_json(text, location, AgentError), location, AgentError)
    iteration = row.get("iteration")
    if type(iteration) is not int:
        raise AgentError(f"{location} is damaged: expected an iteration, a whole number, got {iteration!r:.60}")
    return LogLine(location, iteration, row, text)


def checked_lines(lines: Iterable[LogLine], path: Path, *, lines_per_iteration: int | None = None) -> Iterator[LogLine]:
    """Yield `lines`. Raise `AgentError` if a line is missing, repeated or out of order."""
    order = IterationOrder(path, lines_per_iteration)
    for line in lines:
        order.add(line.location, line.iteration)
        yield line
    order.finish()


class IterationOrder:
    """Checks that no log line is missing, repeated or out of order."""

    def __init__(self, path: Path, lines_per_iteration: int | None = None) -> None:
        self._path, self._lines_per_iteration = path, lines_per_iteration
        self._episodes_per_process = None if lines_per_iteration else episodes_per_process(path.parent)
        self._counts = list[int]()

    def add(self, location: str, iteration: int) -> None:
        if iteration == len(self._counts):
            self.finish()
            self._counts.append(0)
        elif not self._counts or iteration != len(self._counts) - 1:
            raise AgentError(f"{location} is damaged: expected iteration {len(self._counts)}, got {iteration}")
        self._counts[-1] += 1

    def finish(self) -> None:
        """Check the number of lines in the last iteration."""
        if not self._counts:
            return
        last, count, expected = len(self._counts) - 1, self._counts[-1], self._lines_per_iteration or self._counts[0]
        # a resumed run may have another number of processes
        if count != expected and not (self._episodes_per_process and count % self._episodes_per_process == 0):
            raise AgentError(f"{self._path} is damaged: iteration {last} has {count} lines, expected {expected}")


def episodes_per_process(folder: Path) -> int | None:
    """Return the number of episodes that each process plays in an iteration, or None if unknown."""
    from agents.config_groups import RolloutConfig

    path = folder / "settings.json"
    if not is_present(path):
        return None
    with suppress(AgentError, ValueError):  # damaged settings are reported where they are needed
        return RolloutConfig.model_validate(read_object(path, error=AgentError).get("rollout")).own_episodes
    return None
