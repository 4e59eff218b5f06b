"""If an environment misbehaves, a command counts the failed episodes, or ends with an error of one line.

`python -m benchmarks.faults.environments` is the long form of this test.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.faults.environments import COMMANDS, Case, outcome, plan
from benchmarks.faults.misbehaving import PLACES
from benchmarks.faults.result import Result
from tests import ROOT

STEP = Case(where="step", what="raises OSError", every=3, command="evaluate", isolated=False)
REWARD = Case(where="reward", what="int8", every=3, command="evaluate", isolated=False)


def test_two_hundred_environments_differ() -> None:
    cases = plan(200, 20)
    assert len({(case.where, case.what) for case in cases}) == 200
    assert {case.where for case in cases} == set(PLACES) and {case.command for case in cases} == set(COMMANDS)
    assert cases == plan(200, 20) != plan(200, 21)


@pytest.mark.parametrize(
    ("case", "result", "counts", "expected"),
    [
        (STEP, Result(status=2, err="a note\nerror: no way\n"), (None, 3), "refused"),
        (STEP, Result(status=0), (3, 3), "exact"),
        (REWARD, Result(status=0), (0, 3), "exact"),
        (STEP, Result(status=0), (0, 3), "failed"),
        (REWARD, Result(status=0), (2, 3), "failed"),
        (STEP, Result(status=0), (None, 3), "failed"),
        (STEP, Result(status=1, err="Traceback (most recent call last):\nerror: x"), (None, 3), "failed"),
        (STEP, Result(status=-9, err=""), (3, 3), "failed"),
    ],
)
def test_the_outcome_of_a_command(case: Case, result: Result, counts: tuple[int | None, int], expected: str) -> None:
    assert outcome(case, result, *counts)[0] == expected


@pytest.mark.slow
def test_misbehaving_environments_are_counted_or_refused_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.faults.environments", "--count", "200", "--seed", "20"]
    only = [number for number, case in enumerate(plan(200, 20)) if case.command != "compare" and not case.isolated][:8]
    command += ["--only", ",".join(map(str, only)), "--out", str(tmp_path / "environments.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    total = json.loads((tmp_path / "environments.json").read_text())["total"]
    assert (total["tried"], total["failed"]) == (8, 0) and total["refused"] and total["exact"]
