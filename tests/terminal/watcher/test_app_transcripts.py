"""Transcripts that grow, are damaged or hostile, in the application of `watch`."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from agents import AgentError
from agents.play.transcript import Entry, append
from agents.protocol import Decision
from terminal.watcher.list_screen import ListScreen
from terminal.watcher.row_list import RowList
from tests.helpers.screens import LOST, QUEST, WRITTEN, press, watching, write_run
from tests.terminal.watcher.test_app import appears, listed, screen, until


def test_new_episodes_appear_while_a_run_trains(tmp_path: Path) -> None:
    path = tmp_path / "run" / "transcripts.jsonl"

    async def act(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: "0 episodes" in screen(pilot))
        write_run(path.parent, [QUEST, LOST])
        await until(pilot, lambda: len(listed(pilot)) == 2)
        assert "following" in screen(pilot)
        await pilot.press("home")
        append(path, [Entry(iteration=1, episode=replace(QUEST, index=number)) for number in (2, 3)])
        await until(pilot, lambda: len(listed(pilot)) == 4)
        assert pilot.app.screen.query_one(RowList).cursor == 0, "a cursor that is not at the end stays"
        whole = path.read_bytes()
        path.unlink()
        write_run(path.parent, [WRITTEN])
        assert path.read_bytes() != whole
        await until(pilot, lambda: listed(pilot) == [(0, 2)])

    watching([path], act, follow=True)


def damaged(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A run of two episodes, whose first line is changed."""
    path = write_run(tmp_path / "run", [QUEST, replace(QUEST, index=1)])
    first, second = path.read_text().splitlines()
    row = json.loads(first)
    change(row)
    path.write_text(json.dumps(row) + "\n" + second + "\n")
    return path


def test_an_episode_is_read_when_it_is_opened(tmp_path: Path) -> None:
    path = damaged(tmp_path, lambda row: row["episode"]["steps"][0]["decision"].update(mood="[bold]good\x1b[31m"))

    async def act(pilot: Pilot[Any]) -> None:
        assert len(listed(pilot)) == 2
        await press(pilot, "home", "enter")
        assert isinstance(pilot.app.screen, ListScreen)
        await appears(pilot, "mood")  # the notice wraps where the path ends
        await press(pilot, "down", "enter")
        assert "A room with a door." in screen(pilot)
        await press(pilot, "p")
        assert "episode 1" in screen(pilot), "the damaged one cannot be shown"

    watching([path], act)


async def nothing(pilot: Pilot[Any]) -> None:
    await pilot.pause()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row["episode"].pop("game"), r"line 1 is damaged: episode\.game: .*required"),
        (lambda row: row.update(iteration=5), r"line 1 is damaged: expected iteration 0, got 5"),
    ],
)
def test_a_damaged_line_ends_the_application(tmp_path: Path, change: Any, message: str) -> None:
    error = watching([damaged(tmp_path, change)], nothing)
    assert isinstance(error, AgentError)
    with pytest.raises(AgentError, match=message):
        raise error


def test_an_empty_transcript_ends_the_application(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").touch()
    assert "hold no episodes yet" in str(watching([tmp_path / "t.jsonl"], nothing))


def test_an_episode_without_turns_is_not_opened(tmp_path: Path) -> None:
    async def act(pilot: Pilot[Any]) -> None:
        await press(pilot, "enter")
        assert "this episode has no turns" in screen(pilot)

    watching([write_run(tmp_path, [replace(QUEST, steps=())])], act)


HOSTILE = "\x1b[31mred\x07 [bold]loud[/bold] \x9b2J\u202e :smile: [link=file:///etc]x[/link] [@click=app.bell]y[/]"


def test_texts_of_others_control_neither_the_terminal_nor_the_drawing(tmp_path: Path) -> None:
    decision = Decision(command=HOSTILE, probabilities={HOSTILE: 0.5, "[": 0.5})
    step = replace(QUEST.steps[0], observation=HOSTILE, decision=decision)
    episode = replace(
        QUEST, game=HOSTILE, steps=(step, replace(WRITTEN.steps[0], observation=HOSTILE)), error=HOSTILE,
        final_observation=HOSTILE,
    )  # fmt: skip
    paths = [write_run(tmp_path / HOSTILE.replace("/", "|"), [episode]), write_run(tmp_path / "b[red]", [episode])]

    async def act(pilot: Pilot[Any]) -> None:
        for keys in (["home"], ["enter"], ["right"], ["c"], ["escape", "escape", "g"], ["slash", *"[bold]", "enter"]):
            await press(pilot, *keys)
            text = screen(pilot)
            assert r"\x1b[31mred" in text
            assert [character for character in text if not character.isprintable() and character != "\n"] == []
        assert len(listed(pilot)) == 2, "the search found the text as it is"

    watching(paths, act, size=(150, 40))
