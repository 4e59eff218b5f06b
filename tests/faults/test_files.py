"""Damaged files of runs, models and documents are refused in one line or change nothing.

`python -m benchmarks.faults` is the long form of this test.
"""

from pathlib import Path

import pytest

from benchmarks.faults import worker
from benchmarks.faults.damage import KINDS, VALUES, Fault
from benchmarks.faults.scenarios import NEWEST, SCENARIOS, Outcome

FAST = [name for name in SCENARIOS if name != "compare"]


def failed(faults: list[Fault], base: Path) -> list[object]:
    worker.write_intact(base, sorted({fault.scenario for fault in faults}))
    return [answer for answer in worker.run(faults, base) if answer[1] == "failed"]


def test_faults_are_refused_in_one_line_or_change_nothing(tmp_path: Path) -> None:
    faults = worker.plan(60, 7, FAST)
    assert {fault.kind for fault in faults} == set(KINDS)
    assert failed(faults, tmp_path / "intact") == []


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome(2, "", "error: run.json is damaged"), "refused"),
        (Outcome(0, {"reward": 1.0}, ""), "exact"),
        (Outcome(0, {"reward": 0.5}, ""), "failed"),
        (Outcome(2, {"reward": 1.0}, "no error"), "failed"),
        (Outcome(1, "", "Traceback (most recent call last)\nerror: x"), "failed"),
        (Outcome(0, {"reward": 1.0}, "", "a traceback"), "failed"),
    ],
)
def test_the_verdict_on_an_outcome(outcome: Outcome, expected: str) -> None:
    assert worker.verdict("run.json", outcome, Outcome(0, {"reward": 1.0}, ""), "$^")[0] == expected


def test_a_fault_follows_from_its_seed(tmp_path: Path) -> None:
    contents = set()
    for copy in ("a", "b"):
        path = tmp_path / copy / NEWEST / "state.json"
        path.parent.mkdir(parents=True)
        path.write_text('{"iteration": 3, "recent": [true, false], "seconds": 0.5}')
        what = Fault("resume", f"{NEWEST}/state.json", "value", 3).apply(tmp_path / copy)
        contents.add((what, path.read_text()))
    assert len(contents) == 1 and len(VALUES) > 20
