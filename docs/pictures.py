"""Draw the screens of the command line as pictures: `python docs/pictures.py`.

Each screen is drawn at 120 and at 60 columns, and `watch` with its dark and its light colours. The episodes,
transcripts and metrics are fixed, and no screen here shows a time that was measured, so that a picture changes only if
its screen does. A test compares the committed pictures in `docs/pictures` with new ones.
"""

import asyncio
import importlib
import io
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import chdir, suppress
from itertools import product
from pathlib import Path
from unittest import mock

from rich.console import Console
from rich.terminal_theme import MONOKAI

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))
from fixed_screens import FIXED  # noqa: E402

import cli  # noqa: E402
from agents.play.transcript import NAME  # noqa: E402
from agents.play.transcript_index import EpisodeFilter  # noqa: E402
from terminal import console  # noqa: E402
from terminal.watcher.app import Watcher  # noqa: E402

FOLDER = DOCS / "pictures"
WIDTHS = (120, 60)
THEMES = ("dark", "light")
GAME = "textworld:simple?level=1&seed=3"
COMMANDS = {
    "help": ["--help"],
    "play-help": ["play", "--help"],
    "train-help": ["train", "--help"],
    "play": ["play", "--agent", "actde-small", "--game", GAME, "--max-turns", "2"],
    "play-human": ["play", "--agent", "human", "--game", GAME, "--max-turns", "2"],
    "evaluate": ["evaluate", "--agent", "random", "--game", GAME, "--episodes", "4"],
    "generate": [
        "generate",
        "games",
        "--family",
        "coin",
        "--levels",
        "3",
        "--per-level",
        "1",
        "--preview",
        "--workers",
        "1",
    ],
    "error": ["train", "--learning-rate", "1e-4"],
}
WATCHED = {
    "watch-list": ["home"],
    "watch-episode": ["home", "enter", "right", "right"],
    "watch-runs": ["home", "c"],
    "watch-help": ["?"],
}
TYPED = ("fly", "1", "open chest drawer")
LINES = 30
BACKGROUND = re.compile(r'<rect fill="(#\w+)" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"[^>]*/>')


def recorder(columns: int, *, terminal: bool) -> Console:
    return Console(
        file=io.StringIO(), record=True, width=columns, force_terminal=terminal, color_system="truecolor",
        highlight=False, emoji=False, markup=False, legacy_windows=False,
    )  # fmt: skip


def printed(words: Sequence[str], columns: int) -> Console:
    """Run a command in a terminal of `columns` columns. Return the console that recorded its output.

    If the command prints only errors, return the console that recorded these.
    """
    out, err = recorder(columns, terminal=True), recorder(columns, terminal=False)  # without spinners
    answers = iter(TYPED)

    def typed(prompt: str) -> str:
        answer = next(answers)
        out.print(f"{prompt}{answer}")
        return answer

    with (
        mock.patch.multiple(console, out=out, err=err),
        mock.patch("builtins.input", typed),
        mock.patch("shutil.which", return_value=sys.executable),  # commands in hints begin with `python`
        mock.patch.object(sys, "argv", ["cli.py", *words]),
        mock.patch.object(sys.modules["__main__"], "__package__", None),  # the name of the program in help pages
        suppress(SystemExit),
    ):
        importlib.reload(cli).main()
    return out if out.export_text(clear=False) else err


async def watched(folder: Path, name: str, columns: int, theme: str) -> str:
    """Draw the episode viewer (`watch`) after the keys of `WATCHED[name]` have been pressed."""
    app = Watcher([folder / run / NAME for run in ("actde-small", "walkthrough")], EpisodeFilter())
    async with app.run_test(size=(columns, LINES)) as pilot:
        for key in ["", *(["t"] if theme == "light" else []), *WATCHED[name]]:
            await pilot.press(*([key] if key else []))
            await app.workers.wait_for_complete()
            await pilot.pause()
        return app.export_screenshot()


def smaller(picture: str) -> str:
    """Shrink an SVG by a third: draw its most common background colour once instead of in every line of text."""
    rectangles = BACKGROUND.findall(picture)
    [(colour, _)] = Counter(rectangle[0] for rectangle in rectangles).most_common(1)
    first = BACKGROUND.search(picture)
    assert first
    right, bottom = (max(float(r[i]) + float(r[i + 2]) for r in rectangles) for i in (1, 2))
    screen = f'<rect fill="{colour}" width="{right:.1f}" height="{bottom:.1f}"/>'
    rest = BACKGROUND.sub(lambda found: "" if found[1] == colour else found[0], picture[first.start() :])
    return picture[: first.start()] + screen + rest


def draw(folder: Path) -> None:
    """Draw all pictures into a folder."""
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, chdir(scratch):
        printed(["evaluate", "--agent", "actde-small", "--game", GAME, "--episodes", "1", "--save", "saved"], 80)
        for columns, theme in product(WIDTHS, THEMES):
            for name in WATCHED:
                picture = smaller(asyncio.run(watched(Path("saved"), name, columns, theme)))
                (folder / f"{name}-{columns}-{theme}.svg").write_text(picture, encoding="utf-8")
        for columns, (name, words) in product(WIDTHS, COMMANDS.items()):
            export(folder, name, f"cli.py {words[0]}", printed(words, columns))
    for columns, (name, (command, shown)) in product(WIDTHS, FIXED.items()):
        screen = recorder(columns, terminal=True)
        with mock.patch.object(console, "out", screen):
            console.show(shown())
        export(folder, name, f"cli.py {command}", screen)


def export(folder: Path, name: str, title: str, screen: Console) -> None:
    """Write what a console has recorded as an SVG to `folder`. The file is named after `name` and the width."""
    picture = screen.export_svg(title=title, theme=MONOKAI, clear=False, unique_id=name)
    (folder / f"{name}-{screen.width}-dark.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    draw(FOLDER)
