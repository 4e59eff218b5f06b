"""The progress of a crawl."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from games.textworld.transitions.crawl import Crawled
from terminal import generation

GAMES: Any = [SimpleNamespace(file=f"{name}.z8", path=Path(f"{name}.z8")) for name in "ab"]


def test_a_crawl_shows_its_states_and_stops_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 10_000, 31))
    monkeypatch.setattr("terminal.console.time.monotonic", lambda: next(clock))

    def crawl_file(story: Path, *, on_state: Callable[[int], None]) -> Crawled:
        on_state(1250)
        if story.stem == "b":
            raise KeyboardInterrupt
        return Crawled(states=1250, answers=1, complete=True)

    monkeypatch.setattr(generation, "crawl_file", crawl_file)
    with pytest.raises(typer.Exit) as stopped:
        generation.crawl(tmp_path, GAMES)
    assert stopped.value.exit_code == 130
    first, second, last = capsys.readouterr().err.splitlines()
    assert first.startswith("crawl: game 1 of 2, 1,250 states, 12%")
    assert second.startswith("crawl: game 2 of 2, 1,250 states, 62%")
    assert last == "stopped; the games are kept, and the same command crawls them again"


@pytest.mark.parametrize("words", [["goal=none", "goal=brief"], ["a=1", "b=2", "a=1"], ["x=", "x="]])
def test_a_setting_that_is_given_twice_is_refused(words: list[str]) -> None:
    with pytest.raises(typer.BadParameter, match=f"--set {words[0][0]}.* is given twice, as .*: leave out one"):
        generation.parse_settings(words)
    assert generation.parse_settings(words[:1]) == dict([words[0].split("=")])
