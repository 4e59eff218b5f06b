"""Runs of two processes end together after a fault and resume to the same bytes.

`python -m benchmarks.faults.ranks` is the long form of this test.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.faults.rank_cases import LAUNCHED, Case, plan
from benchmarks.faults.rank_launch import PHASES, Ended, Strike
from benchmarks.faults.ranks import complaints
from tests import ROOT

KILL = Strike(what="SIGKILL", target="0", phase="update", number=1, delay=0.0)


def number(what: str, detail: str, target: str | None = None, launcher: str | None = None) -> int:
    """Return the number of the first planned run of this kind."""
    return next(
        case.number
        for case in plan(200, 0, 0)
        if (case.what, case.detail) == (what, detail)
        and (target is None or (case.strike is not None and case.strike.target == target))
        and launcher in (None, case.launcher)
    )


def test_lost_processes_and_ctrl_c_end_both_processes(tmp_path: Path) -> None:
    numbers = [
        number("signal", "SIGKILL", "launcher", "forked"),
        number("signal", "SIGKILL", "0", "alone"),
        number("signal", "SIGINT", "0"),
    ]
    out = tmp_path / "ranks.json"
    command = [sys.executable, "-m", "benchmarks.faults.ranks", "--count", "200", "--launched", "0"]
    done = subprocess.run(
        [*command, "--only", ",".join(map(str, numbers)), "--out", str(out)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(out.read_text())["total"] == {"tried": 3, "refused": 0, "exact": 3, "failed": 0}


@pytest.mark.parametrize(
    ("ended", "after", "expected"),
    [
        (Ended(launcher=1, statuses={0: -9, 1: 1}, out=["", ""], err=["", "error: lost\n"]), 2, ""),
        (Ended(launcher=1, statuses={0: -9, 1: 1}, out=["", ""], err=["", ""]), 2, "no error"),
        (Ended(launcher=1, out=["", ""], err=["error: a\n", "error: a\n"]), 2, "several processes print"),
        (Ended(launcher=1, out=["", ""], err=["", "Traceback\nerror: x"]), 2, "traceback"),
        (Ended(launcher=1, out=["", ""], err=["", "error: lost\n"]), 0, "checkpoint 2 is lost, 0 is left"),
        (Ended(launcher=0, out=["", ""], err=["", "error: lost\n"]), 2, "status of the launcher"),
        (Ended(out=["", ""], err=["", "error: lost\n"], hung=True), 2, "it hangs"),
    ],
)
def test_the_complaints_about_a_killed_run(ended: Ended, after: int, expected: str) -> None:
    case = Case(
        number=0, game="ipd", optimizer="ppo", launcher="alone", what="signal", detail="SIGKILL", rank=0, strike=KILL
    )
    assert ", ".join(complaints(case, ended, 2, after)) == expected


def test_a_failure_has_its_status() -> None:
    case = Case(number=0, game="file", optimizer="ppo", launcher="forked", what="game", detail="reset")
    good, bad = (Ended(launcher=1, statuses={0: 2, 1: s}, out=["", ""], err=["error: x\n", ""]) for s in (2, 0))
    assert (list(complaints(case, good, 0, 0)), list(complaints(case, bad, 0, 0))) == (
        [],
        ["statuses of the processes"],
    )


def test_the_plan_follows_from_its_seed_and_covers_all_kinds() -> None:
    cases = plan(70, 0, len(LAUNCHED))
    assert cases == plan(70, 0, len(LAUNCHED)) != plan(70, 1, len(LAUNCHED))
    assert [case.number for case in cases] == list(range(70))
    assert {case.launcher for case in cases} == {"forked", "alone", "torchrun", "accelerate"}
    assert {case.strike.phase for case in cases if case.strike} == set(PHASES)
