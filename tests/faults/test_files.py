"""Damaged files of runs, models and documents are refused in one line or change nothing.

`python -m benchmarks.faults` is the long form of this test.
"""

from pathlib import Path

import pytest

from benchmarks.faults import worker
from benchmarks.faults.damage import KINDS, TEXTS, VALUES, Fault
from benchmarks.faults.scenarios import NEWEST, SCENARIOS

FAST = [name for name in SCENARIOS if name != "compare"]


def failed(faults: list[Fault], base: Path) -> list[object]:
    worker.write_intact(base, sorted({fault.scenario for fault in faults}))
    return [answer for answer in worker.run(faults, base) if answer[1] == "failed"]


def test_faults_are_refused_in_one_line_or_change_nothing(tmp_path: Path) -> None:
    faults = worker.plan(60, 7, FAST)
    assert {fault.kind for fault in faults} == set(KINDS)
    assert failed(faults, tmp_path / "intact") == []


def test_the_harness_notices_what_a_reader_lets_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log with another reward is a legal log, so `watch` shows another output."""
    monkeypatch.setitem(TEXTS, "other", b"")
    base = tmp_path / "intact"
    worker.write_intact(base, ["watch"])
    path = base / "run" / "transcripts.jsonl"
    (verdict,) = worker.run([Fault("watch", "run/transcripts.jsonl", "missing", 0)], base)
    assert verdict[1] == "refused" and "does not exist" in verdict[3]
    path.write_text(path.read_text().replace('"reward": 1.0', '"reward": 0.25', 1))


def test_a_fault_follows_from_its_seed(tmp_path: Path) -> None:
    contents = set()
    for copy in ("a", "b"):
        path = tmp_path / copy / NEWEST / "state.json"
        path.parent.mkdir(parents=True)
        path.write_text('{"iteration": 3, "recent": [true, false], "seconds": 0.5}')
        what = Fault("resume", f"{NEWEST}/state.json", "value", 3).apply(tmp_path / copy)
        contents.add((what, path.read_text()))
    assert len(contents) == 1 and len(VALUES) > 20
