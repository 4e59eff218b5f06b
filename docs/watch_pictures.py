"""Draw the pictures of docs/watching.md: `python docs/watch_pictures.py`."""

import asyncio
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
import cli
from agents.play.transcript import NAME
from agents.play.transcript_index import EpisodeFilter
from terminal.watcher.app import Watcher

GAME = "textworld:simple?level=1&seed=3"
PICTURES = {"watch-episode": ["home", "enter", "right", "right"], "watch-runs": ["home", "c"]}
COLUMNS, LINES = 100, 28
BACKGROUND = re.compile(r'<rect fill="(#\w+)" x="[\d.]+" y="[\d.]+" width="[\d.]+" height="[\d.]+"[^>]*/>')


async def draw(runs: list[Path], keys: list[str]) -> str:
    app = Watcher(runs, EpisodeFilter())
    async with app.run_test(size=(COLUMNS, LINES)) as pilot:
        for key in ["", *keys]:
            await pilot.press(*([key] if key else []))
            await app.workers.wait_for_complete()
            await pilot.pause()
        return app.export_screenshot()


def smaller(picture: str) -> str:
    """Draw the commonest background once and not in each line, which saves a third of the file."""
    [(colour, _)] = Counter(BACKGROUND.findall(picture)).most_common(1)
    first = BACKGROUND.search(picture)
    assert first
    screen = f'<rect fill="{colour}" width="{12.2 * COLUMNS:.1f}" height="{24.4 * LINES:.1f}"/>'
    rest = BACKGROUND.sub(lambda found: "" if found[1] == colour else found[0], picture[first.start() :])
    return picture[: first.start()] + screen + rest


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        words = ["evaluate", "--agent", "actde-small", "--game", GAME, "--episodes", "1", "--save", folder]
        cli.app(args=words, standalone_mode=False)
        runs = [Path(folder) / name / NAME for name in ("actde-small", "walkthrough")]
        for name, keys in PICTURES.items():
            picture = smaller(asyncio.run(draw(runs, keys)))
            (Path(__file__).parent / "pictures" / f"{name}.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
