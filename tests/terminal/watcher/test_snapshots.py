"""The screens of `watch` as text, in a wide and in a narrow terminal.

To renew the snapshots after a change, delete those that changed, run this test twice, and look at the difference.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.helpers.screens import press, shown, two_runs, watching

SNAPSHOTS = Path(__file__).parent / "snapshots"
KEYS = {
    "list": ["home"],
    "episode": ["home", "enter", "right"],
    "end": ["home", "enter", "end"],
    "text": ["end", "enter"],
    "comparison": ["home", "c"],
    "help": ["question_mark"],
}


@pytest.mark.parametrize("width", [60, 120])
@pytest.mark.parametrize("name", KEYS)
def test_a_screen_equals_its_snapshot(name: str, width: int, tmp_path: Path) -> None:
    lines = list[str]()

    async def look(pilot: Pilot[Any]) -> None:
        await press(pilot, *KEYS[name])
        lines.extend(shown(pilot.app))

    watching(two_runs(tmp_path), look, size=(width, 34))
    path, text = SNAPSHOTS / f"{name}-{width}.txt", "\n".join(lines) + "\n"
    if not path.exists():
        path.write_text(text)
        pytest.fail(f"{path} did not exist and was written: look at it, and run the test again")
    assert text == path.read_text()


@pytest.mark.parametrize("name", ["list", "episode", "comparison"])
def test_dark_and_light_differ_in_colours_only(name: str, tmp_path: Path) -> None:
    screens = list[tuple[list[str], str]]()

    async def look(pilot: Pilot[Any]) -> None:
        await press(pilot, *KEYS[name])
        for _ in range(2):
            screens.append((shown(pilot.app), str(pilot.app.screen.styles.background.hex)))
            await press(pilot, "t")
            await asyncio.sleep(0)

    watching(two_runs(tmp_path), look)
    (dark, dark_background), (light, light_background) = screens
    assert dark == light and dark_background != light_background
