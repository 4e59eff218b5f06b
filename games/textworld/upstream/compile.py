"""Compile the Inform 7 source of a TextWorld game without the index that Inform writes.

TextWorld's own `compile_inform7_game` lets Inform write an index of a hundred pages. It also lets Inform read and write
the user's home folder, where Inform looks for extensions. Neither the index nor the home folder affects the story file
of a TextWorld game.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from games.errors import GameError
from games.textworld.upstream import patches_enabled


def compile_story(source: str, name: str) -> bytes:
    """Compile the Inform 7 code `source` and return the bytes of the story file.

    TextWorld's own `compile_inform7_game` produces the same bytes. Raises GameError if the game is too large for a
    story file. The message contains the game's `name`.
    """
    with tempfile.TemporaryDirectory(prefix="tw-inform-") as folder:
        story = Path(folder) / "tw-game.z8"
        if patches_enabled():
            _compile_without_index(source, name, Path(folder), story)
        else:
            _compile_with_textworld(source, name, story)
        return story.read_bytes()


def _compile_with_textworld(source: str, name: str, story: Path) -> None:
    from textworld.generator import CouldNotCompileGameError
    from textworld.generator.inform7 import compile_inform7_game

    error: type[Exception] = CouldNotCompileGameError
    try:
        compile_inform7_game(source, str(story))
    except error:
        raise _too_large(name) from None


def _compile_without_index(source: str, name: str, project: Path, story: Path) -> None:
    from textworld.generator.inform7.world2inform7 import I7_DEFAULT_PATH

    home = Path(os.environ.get("INFORM_HOME", I7_DEFAULT_PATH)) / "share" / "inform7"
    (project / "Source").mkdir()
    (project / "Source" / "story.ni").write_text(source)
    (project / "uuid.txt").touch()
    _call(name, home / "Compilers" / "ni", "--internal", home / "Internal", "--format=.z8",
          "-noindex", "-noprogress", "--project", project, home=project)  # fmt: skip
    _call(name, home / "Compilers" / "inform6", "-E2wSv8F0", project / "Build" / "auto.inf", story, home=project)


def _call(name: str, *command: str | Path, home: Path) -> None:
    environment = {**os.environ, "HOME": str(home)}
    child = subprocess.run(command, capture_output=True, env=environment, cwd=home, check=False)
    if child.returncode != 0:
        raise _too_large(name)


def _too_large(name: str) -> GameError:
    return GameError(f"{name}: too large for a game file; take fewer rooms, objects or steps")
