"""The application of `watch`: keys, filters, files that grow, and files that are damaged or hostile."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from agents.storage.run_folder import SETTINGS
from terminal.watcher.episode_rows import short_game
from terminal.watcher.episode_screens import TurnView
from terminal.watcher.list_screen import ListScreen
from terminal.watcher.row_list import RowList
from tests.helpers.screens import DETOUR, QUEST, press, shown, two_runs, watching, write_run

Act = Callable[[Pilot[Any]], Awaitable[None]]


def screen(pilot: Pilot[Any]) -> str:
    return "\n".join(shown(pilot.app))


async def appears(pilot: Pilot[Any], text: str) -> None:
    """Wait until a text is on the screen."""
    for _ in range(200):
        if text in screen(pilot):
            return
        await pilot.pause(0.05)
    raise AssertionError(f"{text!r} is not on the screen:\n{screen(pilot)}")


def listed(pilot: Pilot[Any]) -> list[tuple[int, int]]:
    """The run and the episode of each row of the list."""
    app: Any = pilot.app
    return [(place.run, place.row.index) for place in app.catalogue.shown]


ALL = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]


def test_saved_episodes_have_no_iterations(tmp_path: Path) -> None:
    paths = two_runs(tmp_path)
    for path in paths:
        (path.parent / SETTINGS).unlink()

    async def act(pilot: Pilot[Any]) -> None:
        assert "episode" in screen(pilot) and "iter" not in screen(pilot)
        await press(pilot, "home", "enter")
        assert "ppo  episode 0" in screen(pilot) and "iteration" not in screen(pilot)

    watching(paths, act)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([], ALL),
        (["w"], [(0, 0)]),
        (["w", "w"], ALL),
        (["l"], [place for place in ALL if place != (0, 0)]),
        (["w", "l"], [place for place in ALL if place != (0, 0)]),
        (["g"], [(0, 2), (1, 2)]),
        (["g", "g"], ALL),
        (["home", "v"], [(0, 0), (1, 0)]),
        (["up", "v", "w"], []),
        (["up", "v", "w", "x"], ALL),
        (["i"], ALL),
        (["slash", *"lamp", "enter"], [(0, 0)]),
        (["slash", *"FINE", "enter"], [(0, 2), (1, 2)]),
        (["slash", *"nowhere", "enter", "escape"], ALL),
        (["slash", *"lamp", "escape"], ALL),
    ],
)
def test_keys_filter_the_list(tmp_path: Path, keys: list[str], expected: list[tuple[int, int]]) -> None:
    async def act(pilot: Pilot[Any]) -> None:
        await press(pilot, *keys)
        assert listed(pilot) == expected
        count = "6 episodes" if expected == ALL else f"{len(expected)} of 6 episodes"
        assert count in screen(pilot)

    watching(two_runs(tmp_path), act)


def test_a_filter_of_the_command_line_is_shown(tmp_path: Path) -> None:
    async def act(pilot: Pilot[Any]) -> None:
        assert listed(pilot) == [(0, 1), (1, 1)]
        assert "2 of 6 episodes  not won, game coin, level 3, with “door”" in screen(pilot)

    watching(two_runs(tmp_path), act, lost=True, game="coin", level=3, text="door")


def test_the_cursor_stays_on_its_episode_when_a_filter_is_removed(tmp_path: Path) -> None:
    async def act(pilot: Pilot[Any]) -> None:
        await press(pilot, "w", "w", "enter")
        assert "ppo  iteration 1  episode 0" in screen(pilot)

    watching(two_runs(tmp_path), act)


def test_keys_walk_through_turns_and_episodes(tmp_path: Path) -> None:
    async def act(pilot: Pilot[Any]) -> None:
        await press(pilot, "home", "enter")
        assert "A room with a door." in screen(pilot)
        await press(pilot, "right", "down")
        assert "There is a lamp." in screen(pilot) and "You take the lamp." in screen(pilot)
        await press(pilot, "right", "left", "left", "left")
        assert "A room with a door." in screen(pilot)
        await press(pilot, "p")
        assert "episode 0" in screen(pilot), "there is no episode before"
        await press(pilot, "n")
        assert "episode 1" in screen(pilot) and "coin" in screen(pilot)
        await press(pilot, "p", "escape")
        assert isinstance(pilot.app.screen, ListScreen)

    watching(two_runs(tmp_path), act)


def test_a_turn_that_an_expert_played_is_marked(tmp_path: Path) -> None:
    async def act(pilot: Pilot[Any]) -> None:
        assert "33%" in shown(pilot.app)[2], "the share of the expert's turns"
        await press(pilot, "home", "enter")
        assert "an expert played this turn" not in screen(pilot)
        await press(pilot, "right")
        assert "  2 E go east" in screen(pilot) and "an expert played this turn" in screen(pilot)

    watching(two_runs(tmp_path), act)


def test_two_runs_are_compared_on_the_same_game_and_seed(tmp_path: Path) -> None:
    paths = [*two_runs(tmp_path), write_run(tmp_path / "grpo", [replace(QUEST, seed=99)], [replace(QUEST, index=7)])]

    async def act(pilot: Pilot[Any]) -> None:
        await press(pilot, "home", "c")
        lines = shown(pilot.app)
        assert "they part at turn 2" in lines[0]
        assert [line for line in lines if line.startswith("≠   2 E go east")]
        assert pilot.app.screen.query_one(RowList).cursor == 1
        await press(pilot, "end")
        assert "the episode has ended" in screen(pilot), "the other run has more turns"
        await press(pilot, "d")
        assert pilot.app.screen.query_one(RowList).cursor == 1
        await press(pilot, "c")
        assert "grpo  iteration 2  episode 7" in screen(pilot) and "the same texts and commands" in screen(pilot)
        await press(pilot, "c")
        assert "actde  iteration 1  episode 0" in screen(pilot)
        await press(pilot, "escape")
        assert isinstance(pilot.app.screen, ListScreen)

    watching(paths, act)


@pytest.mark.parametrize("runs", [1, 2])
def test_a_comparison_needs_another_run_of_the_same_game(tmp_path: Path, runs: int) -> None:
    paths = [write_run(tmp_path / "one", [QUEST]), write_run(tmp_path / "two", [replace(QUEST, seed=99)])]

    async def act(pilot: Pilot[Any]) -> None:
        assert ("c Compare" in screen(pilot)) == (runs > 1)
        await press(pilot, "home", "c")
        assert ("no other run played this game" in screen(pilot)) == (runs > 1)
        assert isinstance(pilot.app.screen, ListScreen)

    watching(paths[:runs], act)


@pytest.mark.parametrize("size", [(60, 24), (80, 24), (100, 35), (120, 40)])
def test_a_long_text_does_not_hide_the_commands(tmp_path: Path, size: tuple[int, int]) -> None:
    first = replace(QUEST.steps[0], observation="You are in a hall with many doors. " * 60)
    path = write_run(tmp_path / "one", [replace(QUEST, steps=(first, *QUEST.steps[1:]))])

    async def act(pilot: Pilot[Any]) -> None:
        await press(pilot, "home", "enter")
        for part in ("a hall with many doors", "▶ open door", "███", "75.0%", "+0.25"):
            assert part in screen(pilot), part
        view = pilot.app.screen.query_one(TurnView)
        text = view.query_one(".text")
        text.focus()
        await press(pilot, "end")
        await until(pilot, lambda: text.scroll_offset.y > 0)
        assert "▶ open door" in screen(pilot)

    watching([path], act, size=size)


async def until(pilot: Pilot[Any], reached: Callable[[], bool]) -> None:
    for _ in range(600):
        if reached():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(screen(pilot))


def test_the_help_lists_every_key(tmp_path: Path) -> None:
    async def act(pilot: Pilot[Any]) -> None:
        await press(pilot, "question_mark")
        for words in (
            "Everywhere",
            "q, ctrl+c",
            "/ ",
            "Only this level, or all",
            "First turn at which they differ",
        ):
            assert words in screen(pilot)
        assert "an expert played this turn" in screen(pilot)
        await press(pilot, "question_mark")
        assert isinstance(pilot.app.screen, ListScreen)

    watching(two_runs(tmp_path), act, size=(120, 60))


@pytest.mark.parametrize("keys", [["q"], ["ctrl+c"], ["enter", "q"], ["home", "c", "q"], ["question_mark", "q"]])
def test_q_quits_everywhere(tmp_path: Path, keys: list[str]) -> None:
    async def act(pilot: Pilot[Any]) -> None:
        for key in keys:
            await pilot.press(key)
            await pilot.pause()
        assert not pilot.app.is_running or pilot.app._exit

    assert watching(two_runs(tmp_path), act) is None


def test_a_search_types_letters_that_are_keys_elsewhere(tmp_path: Path) -> None:
    async def act(pilot: Pilot[Any]) -> None:
        await press(pilot, "slash", *"qwt?x", "enter")
        assert "with “qwt?x”" in screen(pilot)

    watching([write_run(tmp_path, [DETOUR])], act)


def test_an_empty_list_says_how_to_remove_the_filter(tmp_path: Path) -> None:
    async def act(pilot: Pilot[Any]) -> None:
        assert "no episode matches the filter; x removes it" in screen(pilot)
        await press(pilot, "x")
        assert listed(pilot) == ALL

    watching(two_runs(tmp_path), act, text="no such text")


@pytest.mark.parametrize(
    ("game", "width", "shown"),
    [
        ("textworld:simple?level=1&seed=123", 20, "simple?seed=123"),
        ("textworld:simple?level=1&seed=123", 13, "simp…seed=123"),
        ("textworld:cooking?level=3&recipe=2&seed=4", 13, "cookin…seed=4"),
        ("textworld:coin?level=3", 13, "coin"),
        ("bandit", 13, "bandit"),
    ],
)
def test_a_short_game_keeps_its_seed(game: str, width: int, shown: str) -> None:
    assert short_game(game, width) == shown
