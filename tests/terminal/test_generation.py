"""The progress of filling the transition graphs of generated games."""

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from games.textworld.transitions.crawl import STATES, Crawled
from terminal import generation
from tests.conftest import Command

GAMES: Any = [SimpleNamespace(file=f"{name}.z8", path=Path(f"{name}.z8")) for name in "ab"]


def test_a_crawl_shows_its_states_and_stops_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 10_000, 31))
    monkeypatch.setattr("terminal.console.time.monotonic", lambda: next(clock))

    def crawl_file(story: Path, limit: int, *, on_state: Callable[[int, int], None]) -> Crawled:
        on_state(1250, 300)
        if story.stem == "b":
            raise KeyboardInterrupt
        return Crawled(states=1250, answers=1, complete=True)

    monkeypatch.setattr(generation, "crawl_file", crawl_file)
    with pytest.raises(typer.Exit) as stopped:
        generation.crawl(tmp_path, GAMES, 5000)
    assert stopped.value.exit_code == 130
    first, second, last = capsys.readouterr().err.splitlines()
    assert first.startswith("crawl: game 1 of 2, 1,250 states, 12%")
    assert second.startswith("crawl: game 2 of 2, 1,250 states, 62%")
    assert last == "stopped; the games are kept, and the same command crawls them again"


def test_a_crawl_stops_at_its_limit_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = {"a": 12, "b": 11}

    def crawl_file(story: Path, limit: int, *, on_state: Callable[[int, int], None]) -> Crawled:
        return Crawled(states=sizes[story.stem], answers=1, complete=sizes[story.stem] <= limit)

    monkeypatch.setattr(generation, "crawl_file", crawl_file)
    crawled = generation.crawl(tmp_path, GAMES, 11)
    assert [game["complete"] for game in crawled.values()] == [False, True]
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "a.z8: the crawl stopped after 11 states, whose commands it played; --crawl-states sets another limit"
    )


@pytest.mark.slow
def test_the_limit_of_a_crawl_is_given_with_it(command: Command, tmp_path: Path) -> None:
    words = ("generate", str(tmp_path / "games"), "--family", "coin")
    status, _, errors = command(*words, "--crawl-states", "9")
    assert status == 2 and "--crawl-states limits the crawl: add --crawl, or leave it out" in errors
    assert re.search(
        rf"--crawl-states.*\[default: {STATES}\]", " ".join(command(*words, "--help")[1].replace("│", "").split())
    )
    status, shown, errors = command(*words, "--levels", "3", "--per-level", "1", "--crawl", "--crawl-states", "2")
    assert status == 0 and "0 of 1 games are known completely" in shown
    assert "the crawl stopped after 2 states" in errors


@pytest.mark.parametrize("words", [["goal=none", "goal=brief"], ["a=1", "b=2", "a=1"], ["x=", "x="]])
def test_a_setting_that_is_given_twice_is_refused(words: list[str]) -> None:
    with pytest.raises(typer.BadParameter, match=f"--set {words[0][0]}.* is given twice, as .*: leave out one"):
        generation.parse_settings(words)
    assert generation.parse_settings(words[:1]) == dict([words[0].split("=")])
