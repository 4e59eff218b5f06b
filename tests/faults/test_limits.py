"""Commands on full disks, without permissions and with little memory end in one line and lose nothing.

`python -m benchmarks.faults.disk` and `python -m benchmarks.faults.memory_limits` are the long forms of these tests.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT


def total(name: str, *words: str, out: Path) -> dict[str, int]:
    command = [sys.executable, "-m", f"benchmarks.faults.{name}", *words, "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    counts: dict[str, int] = json.loads(out.read_text())["total"]
    return counts


def may_mount() -> bool:
    return os.geteuid() == 0 and not subprocess.run(["unshare", "-m", "true"], check=False).returncode


@pytest.mark.skipif(not may_mount(), reason="only root may mount file systems")
@pytest.mark.slow
def test_a_full_or_protected_disk_is_one_line_and_the_command_continues(tmp_path: Path) -> None:
    counts = total("disk", "--commands", "train", "--only", "1,4,6,8,9", out=tmp_path / "disk.json")
    assert counts == {"tried": 5, "refused": 5, "exact": 0, "failed": 0}


@pytest.mark.slow
def test_too_little_memory_is_one_line(tmp_path: Path) -> None:
    counts = total(
        "memory_limits", "--commands", "train,play in a process", "--only", "1,7,14", out=tmp_path / "memory.json"
    )
    assert counts == {"tried": 3, "refused": 2, "exact": 1, "failed": 0}
