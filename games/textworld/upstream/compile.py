"""Compile the Inform 7 source of a TextWorld game without the index that Inform writes.

TextWorld's own `compile_inform7_game` lets Inform write an index of a hundred pages. It also lets Inform read and write
the user's home folder, where Inform looks for extensions. Neither affects the story file of a TextWorld game.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from games.errors import GameError
from games.files import naming, scratch_folder
from games.textworld.upstream import patches_enabled

SPARE = 1_000_000
"""If a compiler fails and fewer bytes than these are free, the disk is full."""


def compile_story(source: str, name: str) -> bytes:
    """Return the story file of the Inform 7 code `source`. TextWorld's own `compile_inform7_game` gives the same bytes.

    Raise GameError if the game is too large for a story file. The message contains the game's `name`. Raise OSError if
    the disk is full.
    """
    from textworld.generator import CouldNotCompileGameError
    from textworld.generator.inform7 import compile_inform7_game

    failure: type[Exception] = CouldNotCompileGameError
    compile_to = _compile_without_index if patches_enabled() else compile_inform7_game
    with tempfile.TemporaryDirectory(prefix="tw-inform-", dir=scratch_folder()) as folder:
        story = Path(folder) / "tw-game.z8"
        try:
            with naming(Path(folder)):
                compile_to(source, str(story))
        except (failure, subprocess.CalledProcessError):
            if shutil.disk_usage(folder).free < SPARE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), folder) from None
            raise GameError(f"{name}: too large for a game file; take fewer rooms, objects or steps") from None
        return story.read_bytes()


def _compile_without_index(source: str, story: str) -> None:
    from textworld.generator.inform7.world2inform7 import I7_DEFAULT_PATH

    project = Path(story).parent
    home = Path(os.environ.get("INFORM_HOME", I7_DEFAULT_PATH)) / "share" / "inform7"
    (project / "Source").mkdir()
    (project / "Source" / "story.ni").write_text(source)
    (project / "uuid.txt").touch()
    inform7 = [home / "Compilers" / "ni", "--internal", home / "Internal", "--format=.z8",
               "-noindex", "-noprogress", "--project", project]  # fmt: skip
    inform6 = [home / "Compilers" / "inform6", "-E2wSv8F0", project / "Build" / "auto.inf", story]
    for command in (inform7, inform6):
        environment = {**os.environ, "HOME": str(project)}
        subprocess.run([*map(str, command)], capture_output=True, env=environment, cwd=project, check=True)
