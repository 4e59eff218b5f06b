"""Damaged files of runs, models and documents are refused in one line or change nothing.

`python -m benchmarks.faults.files` is the long form of this test.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.faults import files
from benchmarks.faults.damage import KINDS, VALUES, FileFault
from benchmarks.faults.result import Result
from benchmarks.faults.scenarios import NEWEST, SCENARIOS
from tests import ROOT

FAST = [name for name in SCENARIOS if name != "compare"]


@pytest.mark.slow
def test_faults_are_refused_in_one_line_or_change_nothing(tmp_path: Path) -> None:
    assert {fault.kind for fault in files.plan(60, 7, FAST)} == set(KINDS)
    command = [sys.executable, "-m", "benchmarks.faults.files", "--count", "60", "--seed", "7"]
    command += ["--scenarios", ",".join(FAST), "--out", str(tmp_path / "files.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    total = json.loads((tmp_path / "files.json").read_text())["total"]
    assert (total["tried"], total["failed"]) == (60, 0) and total["refused"] and total["exact"]


REFERENCE = Result(status=0, out='{"reward": 1.0, "seconds": 3}')


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (Result(status=2, err="error: run.json is damaged\n"), "refused"),
        (Result(status=0, out='{"reward": 1.0, "seconds": 4}'), "exact"),
        (Result(status=0, out='{"reward": 0.5, "seconds": 3}'), "failed"),
        (Result(status=2, out='{"reward": 1.0}', err="no error\n"), "failed"),
        (Result(status=1, err="Traceback (most recent call last)\nerror: x"), "failed"),
        (Result(status=0, out='{"reward": 1.0}', err="Traceback (most recent call last)\n"), "failed"),
    ],
)
def test_the_outcome_of_a_fault(result: Result, expected: str) -> None:
    assert files.outcome("run.json", result, REFERENCE, "$^")[0] == expected


def test_a_fault_follows_from_its_seed(tmp_path: Path) -> None:
    contents = set()
    for copy in ("a", "b"):
        path = tmp_path / copy / NEWEST / "state.json"
        path.parent.mkdir(parents=True)
        path.write_text('{"iteration": 3, "recent": [true, false], "seconds": 0.5}')
        what = FileFault("resume", f"{NEWEST}/state.json", "value", 3).apply(tmp_path / copy)
        contents.add((what, path.read_text()))
    assert len(contents) == 1 and len(VALUES) > 20
