"""Warnings of ours, of a user's code and of libraries are one line, also in child processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

SHAKY = """
import gymnasium, warnings
class Shaky(gymnasium.Env):
    observation_space = action_space = gymnasium.spaces.Text(99)
    def reset(self, *, seed=None, options=None):
        warnings.warn("the floor\\n  is [bold] wet", RuntimeWarning)
        return "Go?", {"admissible_commands": ["go", "stay"]}
    def step(self, action):
        return "Gone.", 1.0, True, False, {}
"""


@pytest.mark.parametrize("limit", [(), ("--step-seconds", "60")], ids=["here", "in a child process"])
def test_a_warning_is_one_line(tmp_path: Path, limit: tuple[str, ...]) -> None:
    (tmp_path / "shaky.py").write_text(SHAKY)
    command = [sys.executable, str(ROOT / "cli.py"), "play", "--agent", "random", "--game", "shaky.py:Shaky", *limit]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "warning: the floor is [bold] wet\n")
