"""Compile games without Inform's index, faster than `compile_inform7_game` of TextWorld 1.7.0."""

import os
import signal
import subprocess
import tempfile
from concurrent.futures import BrokenExecutor
from pathlib import Path

from games.child_process import exit_reason, oom_kills
from games.errors import GameError, add_path_to_errors
from games.files import scratch_folder
from games.textworld.upstream import patches_enabled
from games.worker_pool import KEPT

KILL_SIGNALS = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}  # signals from outside that end a program
PROBE_BYTES = 1_000_000


def compile_story(source: str, name: str) -> bytes:
    """Return the `.z8` bytes of Inform 7 code.

    Raise GameError if the game is too large, and BrokenExecutor if the compiler is killed.
    """
    from textworld.generator import CouldNotCompileGameError
    from textworld.generator.inform7 import compile_inform7_game

    compile_to = _compile_without_index if patches_enabled() else compile_inform7_game
    oom_kills_before = oom_kills()
    with tempfile.TemporaryDirectory(prefix="tw-inform-", dir=scratch_folder()) as folder:
        story = Path(folder) / "tw-game.z8"
        try:
            with add_path_to_errors(Path(folder)):
                compile_to(source, str(story))
        except (CouldNotCompileGameError, subprocess.CalledProcessError) as error:
            status = getattr(error, "returncode", 0)
            if -status in KILL_SIGNALS:
                cause = exit_reason(status, oom_kills_before)
                raise BrokenExecutor(f"{name}: TextWorld's compiler was killed ({cause}); {KEPT}") from None
            with add_path_to_errors(Path(folder)):
                # on a full disk, the compiler fails for any game
                (Path(folder) / "probe").write_bytes(bytes(PROBE_BYTES))
            raise GameError(f"{name}: too large for a game file; take fewer rooms, objects or steps") from None
        return story.read_bytes()


def _compile_without_index(source: str, story: str) -> None:
    from textworld.generator.inform7.world2inform7 import I7_DEFAULT_PATH

    project = Path(story).parent
    inform_folder = Path(os.environ.get("INFORM_HOME", I7_DEFAULT_PATH)) / "share" / "inform7"
    (project / "Source").mkdir()
    (project / "Source" / "story.ni").write_text(source)
    (project / "uuid.txt").touch()
    inform7 = [inform_folder / "Compilers" / "ni", "--internal", inform_folder / "Internal", "--format=.z8",
               "-noindex", "-noprogress", "--project", project]  # fmt: skip
    inform6 = [inform_folder / "Compilers" / "inform6", "-E2wSv8F0", project / "Build" / "auto.inf", story]
    for command in (inform7, inform6):
        environment = {**os.environ, "HOME": str(project)}  # Inform writes to the home folder
        subprocess.run([*map(str, command)], capture_output=True, env=environment, cwd=project, check=True)
