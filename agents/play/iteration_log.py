"""Reads logs of training runs: JSON Lines files. Iterations count from 0."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from agents.protocol import AgentError
from games.untrusted_files import as_object, is_present, parse_json, read_lines, read_object


class LogLine(NamedTuple):
    """One line of a log. `where` names the file and the line. `row` is the parsed `text`."""

    where: str
    iteration: int
    row: dict[str, Any]
    text: str


def read_log(path: Path, *, cut: bool = False) -> Iterator[LogLine]:
    """Yield the lines of a log. With `cut`, leave out an incomplete last line."""
    for where, text in read_lines(path, complete=not cut, error=AgentError):
        if not text.endswith("\n"):
            return
        yield parse_line(where, text)


def parse_line(where: str, text: str) -> LogLine:
    """Parse a log line. Raise `AgentError` if it is damaged."""
    row = as_object(parse_json(text, where, AgentError), where, AgentError)
    iteration = row.get("iteration")
    if type(iteration) is not int:
        raise AgentError(f"{where} is damaged: expected an iteration, a whole number, got {iteration!r:.60}")
    return LogLine(where, iteration, row, text)


def complete(lines: Iterable[LogLine], path: Path, *, each: int | None = None) -> Iterator[LogLine]:
    """Yield `lines`. Raise `AgentError` if a line is missing, repeated or out of order.

    Each iteration must have `each` lines or, by default, as many as the first one.
    """
    order = IterationOrder(path, each)
    for line in lines:
        order.add(line.where, line.iteration)
        yield line
    order.finish()


class IterationOrder:
    """Checks the order of log lines (see `complete`)."""

    def __init__(self, path: Path, each: int | None = None) -> None:
        self._path, self._each = path, each
        self._per_process = None if each else episodes_of_a_process(path.parent)
        self._counts = list[int]()

    def add(self, where: str, iteration: int) -> None:
        """Check the iteration of the next line."""
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
        # a resumed run may have another number of processes
        if count != wanted and not (self._per_process and count % self._per_process == 0):
            raise AgentError(f"{self._path} is damaged: iteration {last} has {count} lines, expected {wanted}")


def episodes_of_a_process(folder: Path) -> int | None:
    """Return how many episodes each process plays in an iteration, or None if unknown."""
    from agents.config_groups import RolloutConfig

    path = folder / "settings.json"
    if not is_present(path):
        return None
    with suppress(AgentError, ValueError):  # damaged settings are reported where they are needed
        return RolloutConfig.model_validate(read_object(path, error=AgentError).get("rollout")).own_episodes
    return None
