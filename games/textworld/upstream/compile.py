"""From TextWorld's source of a game to the bytes of its story: Inform 7, asked for the story and nothing else.

TextWorld's own call lets Inform draw an index of a hundred pages and write to the user's home, where extensions
would also be looked for; neither changes the story of a TextWorld game. What the source says is TextWorld's.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from games.errors import GameError


def compile_story(source: str, name: str) -> bytes:
    """The story file of Inform 7's `source`, byte for byte TextWorld's; GameError for `name` where it is too large."""
    from textworld.generator.inform7.world2inform7 import I7_DEFAULT_PATH

    home = Path(os.environ.get("INFORM_HOME", I7_DEFAULT_PATH)) / "share" / "inform7"
    with tempfile.TemporaryDirectory(prefix="tw-inform-") as folder:
        project = Path(folder)
        (project / "Source").mkdir()
        (project / "Source" / "story.ni").write_text(source)
        (project / "uuid.txt").touch()
        _call(name, home / "Compilers" / "ni", "--internal", home / "Internal", "--format=.z8",
              "-noindex", "-noprogress", "--project", project, home=project)  # fmt: skip
        story = project / "tw-game.z8"
        _call(name, home / "Compilers" / "inform6", "-E2wSv8F0", project / "Build" / "auto.inf", story, home=project)
        return story.read_bytes()


def _call(name: str, *command: str | Path, home: Path) -> None:
    environment = {**os.environ, "HOME": str(home)}
    child = subprocess.run(command, capture_output=True, env=environment, cwd=home, check=False)
    if child.returncode != 0:
        raise GameError(f"{name}: too large for a game file; take fewer rooms, objects or steps")
