"""Writes and reads `data.jsonl`: one line per recorded episode, then a line with the number of episodes."""

import codecs
import json
from array import array
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from agents.language_model.recorded_streams import StreamRecorder
from agents.language_model.token_stream import Choice, Segment
from agents.play.episode import Episode
from agents.protocol import AgentError, EpisodeEnd, Turn
from agents.training.dagger import discounted_return
from games.untrusted_files import first_error, read_raw_lines

MAX_LINE = 64_000_000  # bytes
# name of a game -> texts before and after a command; the key "" stands for all other games
Prompts: TypeAlias = Mapping[str, tuple[str, str]]
_CONFIG = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class SegmentRow(TypedDict):
    """A segment as JSON, with choices (position, turn, alternatives, chosen, label, reward, discount)."""

    __pydantic_config__ = _CONFIG  # type: ignore[misc]
    tokens: list[int]
    choices: list[tuple[int, int, tuple[int, ...], int, int | None, float, float]]


class EpisodeRow(TypedDict):
    """An episode as JSON. `bootstrap` tells whether the episode was truncated."""

    __pydantic_config__ = _CONFIG  # type: ignore[misc]
    game: str
    earned: float
    won: bool
    bootstrap: bool
    segments: list[SegmentRow]


ADAPTER = TypeAdapter(EpisodeRow)


class Converter:
    """Converts recorded episodes to lines of `data.jsonl`, and counts the episodes."""

    def __init__(self, recorder: StreamRecorder, prompts: Prompts, *, labels: str) -> None:
        self.recorder, self.prompts, self.labels = recorder, prompts, labels
        # inadmissible commands are counted in the mode `trie` only
        self.episodes = self.turns = self.inadmissible = self.other_games = 0

    def lines(self, episodes: Iterable[tuple[str, Episode]]) -> Iterator[str]:
        """Yield the lines of `data.jsonl`, given tuples (source, episode).

        Raise `AgentError` if the episodes cannot be used.
        """
        for source, episode in episodes:
            try:
                segments = self.segments(episode) if episode.steps else []
            except AgentError as error:
                raise AgentError(f"--data {source} with episodes of {episode.game} cannot be used: {error}") from None
            choices = [choice for segment in segments for choice in segment.choices]
            if not choices or (self.labels != "none" and all(choice.label is None for choice in choices)):
                continue
            self.episodes += 1
            self.turns += len(episode.steps)
            self.other_games += episode.game not in self.prompts
            if self.recorder.mode == "trie":
                steps = episode.steps
                self.inadmissible += sum(step.decision.command not in step.admissible_commands for step in steps)
            yield _json_line(self._row(episode, segments))
        if not self.episodes:
            raise AgentError("--data holds no command to learn from: expected turns with several admissible commands")
        yield _json_line(self.episodes)

    def _row(self, episode: Episode, segments: list[Segment]) -> EpisodeRow:
        return {  # type: ignore[typeddict-item]
            "game": episode.game,
            "earned": episode.reward if self.labels == "return" else discounted_return(episode, self.recorder.gamma),
            "won": bool(episode.won),
            "bootstrap": episode.truncated and not episode.terminated,
            "segments": [
                {
                    "tokens": segment.tokens.tolist(),
                    "choices": [
                        (c.position, c.turn, c.alternatives, c.chosen, c.label, c.reward, c.discount)
                        for c in segment.choices
                    ],
                }
                for segment in segments
            ],
        }

    def segments(self, episode: Episode) -> list[Segment]:
        """Convert an episode to segments without model outputs."""
        prompt, terminator = self.prompts.get(episode.game, self.prompts[""])
        rewards = [0.0, *(step.reward for step in episode.steps)]
        turns = [
            Turn(
                episode=episode.index,
                game=episode.game,
                observation=step.observation,
                info={"admissible_commands": step.admissible_commands},
                reward=rewards[index],
                first=index == 0,
                prompt=prompt,
                terminator=terminator,
            )
            for index, step in enumerate(episode.steps)
        ]
        end = EpisodeEnd(
            episode=episode.index,
            observation=episode.final_observation,
            info={},
            reward=rewards[-1],
            terminated=episode.terminated,
            truncated=episode.truncated,
        )
        only_expert = self.labels == "expert" and episode.with_expert
        imitated = [self.labels != "none" and (step.decision.by_expert or not only_expert) for step in episode.steps]
        return self.recorder.record(turns, [step.decision.command for step in episode.steps], imitated, end)


class Index(NamedTuple):
    """Arrays [N] over the N episodes of a file. `offsets` are byte positions of the episodes' lines."""

    offsets: NDArray[np.int64]
    games: NDArray[np.int64]
    returns: NDArray[np.float64]
    won: NDArray[np.bool_]


def read_index(path: Path, vocabulary_size: int) -> Index:
    """Check a whole file and return its index. Raise `AgentError` if the file is missing or damaged."""
    offsets, games, returns, won = array("q", [0]), array("q"), array("d"), array("b")
    game_numbers: dict[str, int] = {}
    total: int | None = None
    for location, line in read_raw_lines(path, limit=MAX_LINE, error=AgentError):
        if total is not None:
            raise AgentError(f"{location} is damaged: expected the end of the file")
        if line.strip().isdigit():
            total = int(line)
            continue
        row = _parse(location, line, vocabulary_size)
        offsets.append(offsets[-1] + len(line))
        games.append(game_numbers.setdefault(row["game"], len(game_numbers)))
        returns.append(row["earned"])
        won.append(row["won"])
    if total != len(won):
        raise AgentError(f"{path} is damaged: it holds {len(won)} episodes, and its last line says {total}")
    game_array, return_array = np.array(games, dtype=np.int64), np.array(returns, dtype=np.float64)
    return Index(np.array(offsets[:-1], dtype=np.int64), game_array, return_array, np.array(won, dtype=np.bool_))


def read_row(path: Path, index: Index, episode: int, vocabulary_size: int) -> EpisodeRow:
    """Read one episode. Raise `AgentError` if its line is damaged."""
    offset = int(index.offsets[episode])
    lines = read_raw_lines(path, offset=offset, number=episode + 1, limit=MAX_LINE, error=AgentError)
    return _parse(*next(lines, (str(path), b"")), vocabulary_size)


def segments_of(row: EpisodeRow, episode: int, *, whole_vocabulary: bool) -> list[Segment]:
    """Convert the row of an episode to segments without model outputs."""
    return [
        Segment(
            episode=episode,
            tokens=np.array(segment["tokens"], dtype=np.int64),
            choices=tuple(
                Choice(
                    position=position,
                    turn=turn,
                    alternatives=alternatives,
                    chosen=chosen,
                    reward=reward,
                    discount=discount,
                    label=label,
                )
                for position, turn, alternatives, chosen, label, reward, discount in segment["choices"]
            ),
            whole_vocabulary=whole_vocabulary,
        )
        for segment in row["segments"]
    ]


def _json_line(row: object) -> str:
    return json.dumps(row, allow_nan=False, ensure_ascii=False, separators=(",", ":")) + "\n"


def _parse(location: str, line: bytes, vocabulary_size: int) -> EpisodeRow:
    try:
        row = ADAPTER.validate_json(line.removeprefix(codecs.BOM_UTF8))
    except ValidationError as failure:
        raise AgentError(f"{location} is damaged: {first_error(failure)}") from None
    for segment in row["segments"]:
        if problem := _segment_problem(segment, vocabulary_size):
            raise AgentError(f"{location} is damaged: {problem}")
    return row


def _segment_problem(segment: SegmentRow, vocabulary_size: int) -> str:
    choices, length = segment["choices"], len(segment["tokens"])
    positions = [choice[0] for choice in choices]
    if not positions or positions[0] < 0 or positions[-1] != length - 1 or sorted(set(positions)) != positions:
        return f"expected positions that increase from 0 to {length - 1}, got {positions!r:.60}"
    ids = [*segment["tokens"], *(token for choice in choices for token in choice[2])]
    if not (min(ids) >= 0 and max(ids) < vocabulary_size):
        return f"expected tokens from 0 to {vocabulary_size - 1}, got {min(ids)} to {max(ids)}"
    for _, _, alternatives, chosen, label, _, discount in choices:
        if not all(0 <= index < len(alternatives) for index in (chosen, label or 0)):
            return f"expected one of {len(alternatives)} alternatives, got {chosen} and {label}"
        if not 0 <= discount <= 1:
            return f"expected a discount from 0 to 1, got {discount}"
    return ""
