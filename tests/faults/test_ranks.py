"""Runs of two processes end together after a fault and resume to the same bytes.

`python -m benchmarks.faults.ranks` is the long form of this test.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.faults import ranks
from benchmarks.faults.rank_cases import LAUNCHED, Case, plan, sharded_plan
from benchmarks.faults.rank_launch import PHASES, Fault, Launch, since_fault
from benchmarks.faults.result import Result
from tests import ROOT

KILL = Fault(what="SIGKILL", target="0", phase="update", number=1, delay=0.0)


def number(what: str, detail: str, target: str | None = None, launcher: str | None = None) -> int:
    """Return the number of the first planned run of this kind."""
    return next(
        case.number
        for case in plan(200, 0, 0)
        if (case.what, case.detail) == (what, detail)
        and (target is None or (case.fault is not None and case.fault.target == target))
        and launcher in (None, case.launcher)
    )


@pytest.mark.slow
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


def launch(*statuses: int | None, errors: Sequence[str], launcher: int | None = 1, seconds: float = 5.0) -> Launch:
    results = [Result(status=status, err=error) for status, error in zip(statuses, errors, strict=True)]
    return Launch(launcher=Result(status=launcher), ranks=results, seconds=seconds)


@pytest.mark.parametrize(
    ("launched", "after", "expected"),
    [
        (launch(-9, 1, errors=("", "error: lost\n")), 2, ""),
        (launch(-9, 1, errors=("", "")), 2, "no error"),
        (launch(None, None, errors=("error: a\n", "error: a\n")), 2, "several processes print"),
        (launch(None, None, errors=("", "Traceback\nerror: x")), 2, "traceback"),
        (launch(None, None, errors=("", "error: lost\n")), 0, "checkpoint 2 is lost, 0 is left"),
        (launch(None, None, errors=("", "error: lost\n"), launcher=0), 2, "status of the launcher"),
        (launch(-9, 1, errors=("", "error: lost\n"), seconds=61.0), 2, "ends after 61 s"),
    ],
)
def test_the_problems_of_a_killed_run(launched: Launch, after: int, expected: str) -> None:
    case = Case(
        number=0, game="ipd", optimizer="ppo", launcher="alone", what="signal", detail="SIGKILL", rank=0, fault=KILL
    )
    assert ", ".join(ranks.problems(case, launched, 2, after)) == expected


def test_a_failure_has_its_status() -> None:
    case = Case(number=0, game="file", optimizer="ppo", launcher="forked", what="game", detail="reset")
    good, bad = (launch(2, status, errors=("error: x\n", "")) for status in (2, 0))
    assert list(ranks.problems(case, good, 0, 0)) == []
    assert list(ranks.problems(case, bad, 0, 0)) == ["statuses of the processes"]


def test_a_run_that_hangs_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*arguments: object, **options: object) -> Launch:
        raise TimeoutError("a process runs for more than 240 s")

    monkeypatch.setattr(ranks, "launch", hang)
    case = Case(number=0, game="ipd", optimizer="ppo", launcher="forked", what="limit", detail="iterations")
    message = "it hangs: a process runs for more than 240 s"
    assert ranks.check(case, tmp_path, {}) == {"outcome": "failed", "seconds": None, "message": message}


def test_the_seconds_since_a_fault_exclude_its_delay(tmp_path: Path) -> None:
    assert since_fault(tmp_path) is None
    (tmp_path / "injected").touch()
    os.utime(tmp_path / "injected", (time.time() - 10,) * 2)
    assert since_fault(tmp_path, 3.0) == pytest.approx(7.0, abs=1.0)


def test_the_plan_follows_from_its_seed_and_covers_all_kinds() -> None:
    cases = plan(70, 0, len(LAUNCHED))
    assert cases == plan(70, 0, len(LAUNCHED)) != plan(70, 1, len(LAUNCHED))
    assert [case.number for case in cases] == list(range(70))
    assert {case.launcher for case in cases} == {"forked", "alone", "torchrun", "accelerate"}
    sharded = sharded_plan(20, 0)
    assert sharded == sharded_plan(20, 0) != sharded_plan(20, 1) and all(case.sharded for case in sharded)
    assert {case.fault.phase for case in cases + sharded if case.fault} == set(PHASES)
