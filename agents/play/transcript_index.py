"""An index of the episodes in a transcript."""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NotRequired

from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from agents.play.iteration_log import IterationOrder, parse_line
from agents.play.transcript import Entry, check_present, is_of_run, parse_entry
from agents.protocol import AgentError
from games.parameters import level_of, readable
from games.untrusted_files import decode, first_error, read_raw_lines


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeRow:
    """A summary of an episode in a transcript.

    Attributes:
        number: line number, counted from 1.
        offset: byte at which the line starts.
        end: byte after the end of the line.
        iteration: iteration of the run, counted from 0.
    """

    path: Path
    number: int
    offset: int
    end: int
    iteration: int
    index: int
    game: str
    seed: int
    turns: int
    expert_turns: int
    reward: float
    score: float
    max_score: float | None
    won: bool | None
    lost: bool
    terminated: bool
    error: str | None

    @property
    def location(self) -> str:
        return f"{self.path}, line {self.number}"

    @property
    def level(self) -> int | None:
        return level_of(self.game)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeFilter:
    """Conditions that select episodes. None and False select all episodes.

    Attributes:
        lost: select only episodes that were not won.
        game: part of the game's displayed name. Case is ignored.
        exact_game: complete name of the game.
        iteration: iteration of the run, counted from 1.
        text: part of an observation or a command. Case is ignored.
    """

    won: bool = False
    lost: bool = False
    game: str | None = None
    exact_game: str | None = None
    level: int | None = None
    iteration: int | None = None
    episode: int | None = None
    text: str | None = None

    def accepts(self, row: EpisodeRow) -> bool:
        """Return whether an episode meets all conditions."""
        return (
            not ((self.won and not row.won) or (self.lost and row.won))
            and (self.game is None or self.game.casefold() in readable(row.game).casefold())
            and self.exact_game in (None, row.game)
            and self.level in (None, row.level)
            and self.iteration in (None, row.iteration + 1)
            and self.episode in (None, row.index)
            and (self.text is None or contains(row, self.text))
        )


class TranscriptIndex:
    """Reads a transcript, even while another process is writing the file."""

    def __init__(self, path: Path) -> None:
        self.path, self._order = path, IterationOrder(path)
        self._offset = self._lines = self._inode = 0

    def read(self, *, growing: bool = False) -> Iterator[EpisodeRow]:
        """Yield one row for each new line.

        `growing` allows a missing file and an incomplete last line.
        """
        if growing and not self.path.is_file():
            return
        check_present(self.path)
        self._inode = self.path.stat().st_ino if self.path.is_file() else 0
        for location, line in read_raw_lines(self.path, offset=self._offset, number=self._lines + 1, error=AgentError):
            if not line.endswith(b"\n"):
                if growing:
                    return
                raise AgentError(f"{location} is damaged: expected a complete line")
            fields = _parse(_Line, location, line)
            steps = fields["episode"].pop("steps")
            row = EpisodeRow(
                path=self.path,
                number=self._lines + 1,
                offset=self._offset,
                end=self._offset + len(line),
                iteration=fields["iteration"],
                turns=len(steps),
                expert_turns=sum(step["decision"].get("by_expert", False) for step in steps),
                reward=sum(step["reward"] for step in steps),
                **fields["episode"],
            )
            self._order.add(location, row.iteration)
            self._offset, self._lines = row.end, row.number
            yield row
        if not growing:
            self._order.finish()

    def is_replaced(self) -> bool:
        """Return whether the file was replaced or shortened since the last call of `read`."""
        if not self._lines or not self.path.is_file():
            return False
        status = self.path.stat()
        return status.st_ino != self._inode or status.st_size < self._offset


def read_episode(row: EpisodeRow) -> Entry:
    """Read a row's episode from the transcript. Raise AgentError if the line has changed."""
    entry = parse_entry(parse_line(row.location, decode(_line(row), row.location, AgentError)))
    if (entry.iteration, entry.episode.index) != (row.iteration, row.index):
        raise AgentError(f"{row.location} has changed; open the transcript again")
    return replace(entry, of_run=is_of_run(row.path))


def contains(row: EpisodeRow, text: str) -> bool:
    """Return whether an observation or a command contains `text`, ignoring case."""
    episode = _parse(_LineOfTexts, row.location, _line(row))["episode"]
    texts = (part for step in episode["steps"] for part in (step["observation"], step["decision"]["command"]))
    query = text.casefold()
    return any(query in part.casefold() for part in (*texts, episode["final_observation"]))


def _line(row: EpisodeRow) -> bytes:
    return next(read_raw_lines(row.path, offset=row.offset, number=row.number, error=AgentError), ("", b""))[1]


# TypedDicts of the fields that are read. They are faster than pydantic models here. The settings of the outer ones,
# `_Line` and `_LineOfTexts`, also apply to the inner ones.
_PARTIAL = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class _Decision(TypedDict):
    by_expert: NotRequired[bool]


class _Step(TypedDict):
    decision: _Decision
    reward: float


class _Episode(TypedDict):
    index: int
    game: str
    seed: int
    steps: list[_Step]
    score: float
    max_score: float | None
    won: bool | None
    lost: bool
    terminated: bool
    error: str | None


class _Line(TypedDict):
    __pydantic_config__ = _PARTIAL  # type: ignore[misc]
    iteration: int
    episode: _Episode


class _DecisionOfTexts(TypedDict):
    command: str


class _StepOfTexts(TypedDict):
    observation: str
    decision: _DecisionOfTexts


class _EpisodeOfTexts(TypedDict):
    steps: list[_StepOfTexts]
    final_observation: str


class _LineOfTexts(TypedDict):
    __pydantic_config__ = _PARTIAL  # type: ignore[misc]
    episode: _EpisodeOfTexts


_adapter = cache(TypeAdapter)


def _parse(line_type: Any, location: str, line: bytes) -> Any:
    try:
        return _adapter(line_type).validate_json(line.removeprefix(codecs.BOM_UTF8))
    except ValidationError as failure:
        raise AgentError(f"{location} is damaged: {first_error(failure)}") from None
