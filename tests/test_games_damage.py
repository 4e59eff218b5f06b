"""Damaged files, in short: refused in one line or played exactly. The long form is `benchmarks.textworld_damage`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.textworld_damage import GAMES, damages, form, play, verdict
from games import GameError
from games.making import cached_game
from games.textworld import TextWorld


@pytest.mark.parametrize("foreign", [False, True])
def test_a_damaged_file_is_refused_or_played_exactly(foreign: bool, tmp_path: Path) -> None:
    mine, other = (cached_game("coin", values) for values in GAMES["coin"])
    sound, pair = play(mine), form(mine, foreign)
    flips = 0 if foreign else 60  # of a foreign file each costs seconds in a child process
    found = Counter(
        verdict((story, record), sound, tmp_path)
        for _, story, record in damages(pair, form(other, foreign)[1], 0, flips, 20)
    )
    assert set(found) <= {"refused", "exact"}
    assert found["refused"] >= 41


def test_a_foreign_record_that_loads_and_wins_but_lies_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which ways are free is told by no text: the story cannot show the damage, the walkthrough passes it by."""
    mine = cached_game("coin", GAMES["coin"][0])
    story, record = form(mine, True)
    at = record.rindex(b'"free"')
    path = tmp_path / "tw-game.z8"
    path.write_bytes(story)
    path.with_suffix(".json").write_bytes(record[:at] + b'"frea"' + record[at + 6 :])
    with pytest.raises(GameError, match=r"ACTDE_UNVERIFIED=1 plays it all the same|damaged"):
        TextWorld(str(path))
