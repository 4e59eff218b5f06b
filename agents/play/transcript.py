"""Transcripts: the episodes of a training run as JSON Lines. Each line holds one episode and its iteration."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agents.play.episode import Episode
from agents.play.iteration_log import LogLine, complete, read_log
from agents.protocol import AgentError
from games.errors import naming
from games.reading import is_present

NAME = "transcripts.jsonl"  # in the folder of a run


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a transcript: an episode and the iteration of the training run, counted from 0."""

    iteration: int
    episode: Episode


def append(path: Path, entries: Iterable[Entry]) -> None:
    """Append entries to the file, which is created if necessary. If writing fails, the file is left unchanged."""
    lines = [{"iteration": entry.iteration, "episode": entry.episode.to_json()} for entry in entries]
    text = "".join(json.dumps(line, allow_nan=False, ensure_ascii=False) + "\n" for line in lines)
    with naming(path), path.open("ab", buffering=0) as file:
        before, rest = file.tell(), memoryview(text.encode())
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError:
            file.truncate(before)
            raise


def read(path: Path) -> Iterator[Entry]:
    """Yield all entries of the file. Raise `AgentError` if the file or a line is missing or damaged."""
    if not is_present(path):
        raise AgentError(f"{path} does not exist; expected the folder of a run, or a transcript file")
    for line in complete(read_log(path), path):
        yield _entry(line)


def select(path: Path, *, iteration: int | None = None, episode: int | None = None) -> list[Entry]:
    """Return the entries with this iteration and this episode number, in order, or raise `AgentError` if none exist.

    `iteration` counts from 1, unlike the field of the entries, and `episode` counts from 0. If one argument is None, it
    matches all entries. If both are None, return the entries of the newest iteration.
    """
    entries = sorted(read(path), key=lambda entry: (entry.iteration, entry.episode.index))
    if not entries:
        raise AgentError(f"{path} holds no episodes yet")
    if iteration is None and episode is None:
        iteration = entries[-1].iteration + 1
    selected = [
        entry
        for entry in entries
        if iteration in (None, entry.iteration + 1) and episode in (None, entry.episode.index)
    ]
    if not selected:
        last, most = entries[-1].iteration + 1, max(entry.episode.index for entry in entries)
        raise AgentError(f"{path} has no such episode: its iterations go up to {last}, its episodes up to {most}")
    return selected


def _entry(line: LogLine) -> Entry:
    if set(line.row) != {"iteration", "episode"}:
        raise AgentError(f"{line.where} is damaged: expected the fields iteration and episode")
    try:
        return Entry(iteration=line.iteration, episode=Episode.from_json(line.row["episode"]))
    except AgentError as failure:
        raise AgentError(f"{line.where} is damaged: {failure}") from None
