"""Texts of games and files cannot control the terminal."""

from dataclasses import replace

import pytest

from agents.play.transcript import Entry
from terminal import display, error_lines, playback
from tests.helpers.screens import QUEST

HOSTILE = "\x1b[31mred\x9b2J\u202e\nsecond"


def test_lines_of_an_episode_have_no_control_characters() -> None:
    episode = replace(QUEST, game=HOSTILE, error=HOSTILE, final_observation=HOSTILE)
    lines = playback.episode_lines(Entry(iteration=0, episode=episode))
    assert r"\x1b[31mred\x9b2J\u202e second: failed" in lines[0]
    assert all(line.isprintable() for line in lines)
    assert display.summary(episode).isprintable() and display.game_name(HOSTILE).isprintable()


def test_an_error_has_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        error_lines.fail(HOSTILE, 2)
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "error: \\x1b[31mred\\x9b2J\\u202e second\n"
