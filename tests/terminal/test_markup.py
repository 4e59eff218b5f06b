"""Words of a user or of a game are printed unchanged, although rich has markup and codes for emojis."""

import io
import re
from collections.abc import Callable
from typing import Any

import pytest
import typer
from rich.console import Group, RenderableType

import cli
from agents.config import BudgetConfig
from agents.play.baselines import RandomAgent
from agents.play.evaluate import evaluate
from agents.play.runner import EpisodeRunner
from terminal import console, display, evaluation, training
from tests.conftest import Command
from tests.helpers.fakes import CorridorSpec

WORDS = ["textworld:cooking:x", "my[bold]game.z5", "a[/x]b:smiley:"]


def evaluation_table(word: str) -> RenderableType:
    row = evaluate(RandomAgent(seed=0), [CorridorSpec("short", 2)], game=word, episodes=1, seed=0)
    return Group(*evaluation.report([row]))


def episode_table(word: str) -> RenderableType:
    with EpisodeRunner([CorridorSpec(word, 2)], seed=0) as runner:
        return display.episode_table(list(runner.play(RandomAgent(seed=0), 2)))


def training_panel(word: str) -> RenderableType:
    return training.panel(word, [], BudgetConfig(), 80)


@pytest.fixture
def terminals(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the two consoles print to a terminal."""
    screen = io.StringIO()
    for terminal in (console.out, console.err):
        monkeypatch.setattr(terminal, "_file", screen)
        monkeypatch.setattr(terminal, "_force_terminal", True)
        monkeypatch.setattr(terminal, "_color_system", None)
        monkeypatch.setattr(terminal, "_width", 200)
        monkeypatch.setattr(terminal, "is_interactive", True)
    return screen


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("table", [evaluation_table, episode_table, training_panel])
def test_tables_and_panels(table: Callable[[str], RenderableType], word: str, terminals: io.StringIO) -> None:
    console.show([table(word)])
    assert word in terminals.getvalue()


@pytest.mark.parametrize("word", WORDS)
def test_notes_spinners_and_progress_bars(word: str, terminals: io.StringIO) -> None:
    console.note(f"error: {word}")
    with console.waiting(f"loading {word}"):
        pass
    with console.progress(f"{word} plays", 2) as advance:
        advance(None)
    with console.reporting(f"card {word}") as report:
        report(f"games of {word}", 1, 2)
    for start in ("error: ", "loading ", "", "card "):
        assert start + word in terminals.getvalue()


@pytest.mark.parametrize("name", ["play", "evaluate", "generate", "compare", "reproduce", "watch"])
def test_help_shows_every_word_of_an_options_text(name: str, command: Command) -> None:

    def words(text: str) -> list[str]:
        return re.findall(r"[^\s│]+", text)

    shown = words(command(name, "--help")[1])
    options: list[Any] = typer.main.get_command(cli.app).commands[name].params  # type: ignore[attr-defined]
    missing = {word for option in options for word in words(option.help or "")} - set(shown)
    assert not missing
