"""Screens of textual applications as text, and runs to watch."""

import asyncio
import html
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from textual.pilot import Pilot
from textual.worker import WorkerCancelled

from agents.play.episode import Episode, Step
from agents.play.transcript import NAME, Entry, append
from agents.play.transcript_index import EpisodeFilter
from agents.protocol import Decision, GeneratedToken
from agents.storage.run_folder import SETTINGS
from terminal.watcher.app import Watcher

CELL, LINE = 12.2, 24.4  # width and height of a cell in textual's pictures
TEXT = re.compile(r'<text class="[^"]*-r\d+" x="([\d.]+)" y="([\d.]+)"[^>]*>(.*?)</text>')


def shown(app: Any) -> list[str]:
    """The lines of the current screen, without trailing spaces."""
    width, height = app.size
    cells = [[" "] * width for _ in range(height)]
    for x, y, text in TEXT.findall(app.export_screenshot()):
        column, line = round(float(x) / CELL), int(float(y) / LINE)
        for offset, character in enumerate(html.unescape(text).replace("\xa0", " ")):
            cells[line][column + offset] = character
    return ["".join(line).rstrip() for line in cells]


def watching(
    paths: list[Path],
    then: Callable[[Pilot[Any]], Awaitable[None]],
    *,
    size: tuple[int, int] = (120, 30),
    follow: bool = False,
    **wanted: Any,
) -> Any:
    """Run the app, call `then` (without `follow`, after reading the transcripts), and return the app's result."""

    async def run() -> Any:
        app = Watcher(paths, EpisodeFilter(**wanted), follow=follow)
        async with app.run_test(size=size, notifications=True) as pilot:
            if not follow:
                await settled(pilot)
            await then(pilot)
        return app.return_value

    return asyncio.run(run())


async def press(pilot: Pilot[Any], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await settled(pilot)


async def settled(pilot: Pilot[Any]) -> None:
    """Wait until the application has finished reading and drawing."""
    app: Any = pilot.app
    with suppress(WorkerCancelled):  # an error has ended the application
        await app.workers.wait_for_complete([w for w in app.workers if w.group == "filter" or not app.follow])
    await pilot.pause()
    await pilot.pause()


def step(command: str, observation: str, *, likely: float = 0.75, reward: float = 0.0, **changes: Any) -> Step:
    other = "look" if command != "look" else "wait"
    decision = Decision(
        command=command,
        probabilities={command: likely, other: 1 - likely},
        value=0.5 - reward,
        q_values={command: 0.25, other: -0.5},
        entropy=0.56,
        by_expert=changes.pop("by_expert", False),
    )
    return Step(
        observation=observation,
        admissible_commands=tuple(sorted((command, other))),
        decision=decision,
        reward=reward,
        score=changes.pop("score", 0.0),
        **changes,
    )


QUEST = Episode(
    index=0,
    game="textworld:quest?level=2&seed=5",
    seed=7,
    steps=(
        step("open door", "A room with a door."),
        step("go east", "The door is open.", by_expert=True, advantage=0.125),
        step("take lamp", "A cellar. There is a lamp.", reward=1.0, score=1.0),
    ),
    final_observation="You take the lamp.",
    score=1.0,
    max_score=1.0,
    won=True,
    lost=False,
    terminated=True,
    truncated=False,
    moves=3,
)
DETOUR = replace(
    QUEST,
    steps=(QUEST.steps[0], step("look", "The door is open."), *(step("wait", "Time passes.") for _ in range(3))),
    final_observation="Time passes.",
    score=0.0,
    won=False,
    terminated=False,
    truncated=True,
    moves=5,
)
LOST = replace(
    DETOUR, index=1, game="textworld:coin?level=3&seed=1", seed=8, lost=True, terminated=True, truncated=False
)
WRITTEN = Episode(
    index=2,
    game="completion?reward=letter",
    seed=9,
    steps=(
        Step(
            observation="We had a",
            admissible_commands=(),
            decision=Decision(
                command=" fine time",
                value=None,
                entropy=2.0,
                tokens=(
                    GeneratedToken(" fine", -1.0, 0.25, 0.5),
                    GeneratedToken(" time", -0.5, 0.75, -0.25),
                ),
            ),
            reward=0.5,
            score=0.5,
        ),
    ),
    final_observation="",
    score=0.5,
    max_score=None,
    won=None,
    lost=False,
    terminated=True,
    truncated=False,
    moves=1,
)


def write_run(folder: Path, *iterations: list[Episode]) -> Path:
    """Write a run of these episodes, by iteration. Return its transcript."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SETTINGS).touch()
    for iteration, episodes in enumerate(iterations):
        append(folder / NAME, [Entry(iteration=iteration, episode=episode) for episode in episodes])
    return folder / NAME


def two_runs(base: Path) -> list[Path]:
    """Two runs. Their first episodes play the same game with the same seed, and part at the second turn."""
    return [write_run(base / "ppo", [QUEST, LOST, WRITTEN]), write_run(base / "actde", [DETOUR, LOST, WRITTEN])]
