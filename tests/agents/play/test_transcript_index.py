"""The index of a transcript: its rows, its filters, and files that grow or are damaged."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents import AgentError
from agents.play.transcript import Entry, append
from agents.play.transcript_index import EpisodeFilter, EpisodeRow, TranscriptIndex, read_episode
from tests.agents.play.test_transcript import DECISION, EPISODE, STEP

SEASIDE = replace(
    EPISODE,
    index=4,
    game="textworld:coin?level=12&seed=1",
    won=False,
    steps=(replace(STEP, observation="The SEA.", decision=replace(DECISION, by_expert=True)), STEP),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    append(tmp_path / "t.jsonl", [Entry(iteration=0, episode=EPISODE), Entry(iteration=0, episode=SEASIDE)])
    return tmp_path / "t.jsonl"


def test_a_row_summarizes_its_episode(path: Path) -> None:
    first, second = TranscriptIndex(path).read()
    assert (first.index, first.game, first.seed, first.turns, first.expert_turns) == (3, "corridor", 17, 2, 0)
    assert (first.reward, first.score, first.max_score, first.won, first.level) == (2.0, 1.0, None, True, None)
    assert (second.level, second.expert_turns, second.number, second.offset) == (12, 1, 2, first.end)
    assert [read_episode(row) for row in (first, second)] == [
        Entry(iteration=0, episode=episode) for episode in (EPISODE, SEASIDE)
    ]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({}, [3, 4]),
        ({"won": True}, [3]),
        ({"lost": True}, [4]),
        ({"game": "CORR"}, [3]),
        ({"exact_game": "corridor"}, [3]),
        ({"exact_game": "corr"}, []),
        ({"level": 12}, [4]),
        ({"level": 1}, []),
        ({"iteration": 1}, [3, 4]),
        ({"iteration": 2}, []),
        ({"episode": 4}, [4]),
        ({"text": "sea"}, [4]),
        ({"text": "où?\n"}, [3, 4]),
        ({"text": "GO"}, [3, 4]),
        ({"text": "there."}, [3, 4]),
        ({"text": "probabilities"}, []),
        ({"text": "sea", "won": True}, []),
    ],
)
def test_a_filter_chooses_rows(path: Path, choice: dict[str, Any], expected: list[int]) -> None:
    wanted = EpisodeFilter(**choice)
    assert [row.index for row in TranscriptIndex(path).read() if wanted.accepts(row)] == expected


def test_a_growing_transcript_is_read_in_parts(path: Path) -> None:
    index, whole = TranscriptIndex(path), path.read_bytes()
    path.write_bytes(whole[:-10])
    assert [row.index for row in index.read(growing=True)] == [3]
    path.write_bytes(whole)
    [row] = index.read(growing=True)
    assert read_episode(row).episode == SEASIDE
    assert list(index.read(growing=True)) == []
    assert not index.is_replaced()
    path.rename(path.with_name("old"))
    assert not index.is_replaced(), "a file that is missing may come back"
    path.write_bytes(whole)
    assert index.is_replaced()


def test_a_transcript_that_does_not_exist_yet_may_grow(tmp_path: Path) -> None:
    index = TranscriptIndex(tmp_path / "none.jsonl")
    assert list(index.read(growing=True)) == []
    with pytest.raises(AgentError, match=r"none\.jsonl does not exist; expected the folder of a run"):
        list(index.read())


def test_a_row_of_a_changed_file_is_refused(path: Path) -> None:
    first, second = TranscriptIndex(path).read()
    with pytest.raises(AgentError, match="line 1 has changed"):
        read_episode(replace(second, number=1, offset=first.offset))
    path.write_bytes(b"")
    with pytest.raises(AgentError, match="line 2 is damaged"):
        read_episode(second)


def rows_after(path: Path, damage: bytes) -> Iterator[EpisodeRow]:
    path.write_bytes(path.read_bytes() + damage)
    return TranscriptIndex(path).read()


@pytest.mark.parametrize(
    "damage",
    [
        b'{"iteration": 1, "epis',
        b"{}\n",
        b"\n",
        b'{"iteration": "1", "episode": {}}\n',
        b"[1]\n",
        b"NaN\n",
        b"\xff\n",
        b'{"iteration": 2, "episode": ' + b'{"index": 1e400}}\n',
    ],
)
def test_a_damaged_line_is_named(path: Path, damage: bytes) -> None:
    with pytest.raises(AgentError, match=r"t\.jsonl, line 3 is damaged"):
        list(rows_after(path, damage))


def test_missing_lines_are_noticed(path: Path) -> None:
    append(path, [Entry(iteration=2, episode=EPISODE)])
    with pytest.raises(AgentError, match="expected iteration 1, got 2"):
        list(TranscriptIndex(path).read())


@pytest.mark.parametrize("first", [-1, 1])
def test_the_first_iteration_is_0(tmp_path: Path, first: int) -> None:
    append(tmp_path / "t.jsonl", [Entry(iteration=first, episode=EPISODE)])
    with pytest.raises(AgentError, match=f"line 1 is damaged: expected iteration 0, got {first}"):
        list(TranscriptIndex(tmp_path / "t.jsonl").read())


def test_a_reward_must_be_finite(path: Path) -> None:
    line = path.read_bytes().splitlines(keepends=True)[0].replace(b'"reward": 1.0', b'"reward": 1e400')
    with pytest.raises(AgentError, match=r"line 3 is damaged: episode\.steps\.0\.reward: .*finite"):
        list(rows_after(path, line))
