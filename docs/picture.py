"""Draw the README's picture, the last turns of `make play`, as an SVG: `python docs/picture.py`."""

import io
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

sys.path.insert(0, str(Path(__file__).parent.parent))
import cli
from terminal import console

WIDTH, LINES = 100, 46


def main() -> None:
    """Play as `make play` does, and save the last lines of the output as `play.svg` beside this file."""
    screen = io.StringIO()
    console.out = Console(
        file=screen, width=WIDTH, force_terminal=True, color_system="truecolor", legacy_windows=False,
        highlight=False, emoji=False, markup=False,
    )  # fmt: skip
    cli.app(args=["play", "--agent", "actde", "--delay", "0", *sys.argv[1:]], standalone_mode=False)
    shown = screen.getvalue().rstrip().split("\n")[-LINES:]
    while "╭" not in shown[0]:  # start with a complete turn
        del shown[0]
    paper = Console(file=io.StringIO(), width=WIDTH, record=True, force_terminal=True, color_system="truecolor")
    for line in shown:
        paper.print(Text.from_ansi(line), no_wrap=True, crop=True)
    paper.save_svg(str(Path(__file__).with_name("play.svg")), title="make play")


if __name__ == "__main__":
    main()
