"""A command that is killed before one of its writes continues to the same bytes."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT


@pytest.mark.skipif(platform.machine() != "x86_64" or sys.platform != "linux", reason="needs Linux on x86-64")
@pytest.mark.slow
def test_a_killed_training_run_continues_to_the_same_bytes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.faults.kills", "--commands", "train", "--points", "5"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "kills.json")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "kills.json").read_text())["commands"]["train"]
    assert result["events"] > 100
    assert (result["tried"], result["exact"], result["failed"]) == (5, 5, 0)
