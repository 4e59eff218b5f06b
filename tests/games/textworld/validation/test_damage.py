"""Damaged files raise one line or play exactly; `benchmarks.textworld_damage` is the long form of this test."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.textworld_damage import GAMES, damages, form, play, verdict
from games.textworld.generation.make_game import cached_game
from games.textworld.validation.record_check import find_damage


@pytest.mark.parametrize("foreign", [False, True])
def test_damaged_file_raises_or_plays_exactly(foreign: bool, tmp_path: Path) -> None:
    mine, other = (cached_game("coin", values) for values in GAMES["coin"])
    sound, pair = play(mine), form(mine, foreign)
    flips = 0 if foreign else 60  # of a foreign file each costs seconds in a child process
    verdicts = Counter(
        verdict((story, record), sound, tmp_path)
        for _, story, record in damages(pair, form(other, foreign)[1], 0, flips, 20)
    )
    assert set(verdicts) <= {"refused", "exact"}
    assert verdicts["refused"] >= 41


FALSE_RECORDS = {
    "a free way": (b'"name": "free"', b'"name": "frea"'),
    "the spelling of an action": (b'"command_template": "go south"', b'"command_template": "go souph"'),
    "what an action is about": (b'{"name": "I", "type": "I"}', b'{"name": "Y", "type": "I"}'),
    "a rule": (b"$at(P, r) & ", b"$it(P, r) & "),
}


@pytest.mark.parametrize("name", FALSE_RECORDS)
def test_false_record_that_loads_is_detected(name: str, tmp_path: Path) -> None:
    """The story itself is sound, and the walkthrough still wins, so only the record shows the damage."""
    story, record = form(cached_game("coin", GAMES["coin"][0]), True)
    before, after = FALSE_RECORDS[name]
    assert before in record
    path = tmp_path / "tw-game.z8"
    path.write_bytes(story)
    path.with_suffix(".json").write_bytes(record.replace(before, after, 1))
    assert find_damage(path) != ""
    path.with_suffix(".json").write_bytes(record)
    if name == "a rule":
        assert find_damage(path) == ""
