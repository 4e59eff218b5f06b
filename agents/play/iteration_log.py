"""Read logs of training runs: JSON Lines in which each line names an iteration, counted from 0."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from agents.protocol import AgentError
from games.reading import as_object, parse_json, read_lines


class LogLine(NamedTuple):
    """One line of a log. `where` names the file and the line, and `row` is the JSON object in `text`."""

    where: str
    iteration: int
    row: dict[str, Any]
    text: str


def read_log(path: Path, *, cut: bool = False) -> Iterator[LogLine]:
    """Yield the lines of a log. Raise `AgentError` for a damaged line.

    A killed process leaves an incomplete last line. With `cut`, such a line is omitted instead of raising an error.
    """
    for where, text in read_lines(path, complete=not cut, error=AgentError):
        if not text.endswith("\n"):
            return
        row = as_object(parse_json(text, where, AgentError), where, AgentError)
        iteration = row.get("iteration")
        if type(iteration) is not int:
            raise AgentError(f"{where} is damaged: expected an iteration, a whole number, got {iteration!r:.60}")
        yield LogLine(where, iteration, row, text)


def complete(lines: Iterable[LogLine], path: Path, *, each: int | None = None) -> Iterator[LogLine]:
    """Yield the lines after checking that none is missing. Raise `AgentError` if one is missing, repeated or displaced.

    Iterations must count up from 0, with `each` lines per iteration. If `each` is None, the number must be constant.
    """
    counts = list[int]()
    for line in lines:
        if line.iteration == len(counts):
            _check_count(counts, each, path)
            counts.append(0)
        elif line.iteration != len(counts) - 1:
            raise AgentError(f"{line.where} is damaged: expected iteration {len(counts)}, got {line.iteration}")
        counts[-1] += 1
        yield line
    _check_count(counts, each, path)


def _check_count(counts: list[int], each: int | None, path: Path) -> None:
    """Check the number of lines of the last iteration."""
    if counts and counts[-1] != (wanted := counts[0] if each is None else each):
        raise AgentError(f"{path} is damaged: iteration {len(counts) - 1} has {counts[-1]} lines, expected {wanted}")
