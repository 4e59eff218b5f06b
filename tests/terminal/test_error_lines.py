"""Errors of several processes."""

import json
from pathlib import Path

import pytest

from agents.protocol import LostProcessError
from terminal import console, error_lines


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console.err, "quiet", console.err.quiet)  # `fail` changes it


def test_a_long_error_lacks_its_middle(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        error_lines.fail(f"expected a text, got {[0] * 100_000}; change it", 2)
    printed = capsys.readouterr().err
    assert printed.startswith("error: expected a text, got [0, 0") and printed.endswith("0, 0]; change it\n")
    assert printed.count("\n") == 1 and len(printed) < 1_600


def lose(**_: object) -> None:
    raise LostProcessError("another process has ended")


@pytest.mark.parametrize(("rank", "printed"), [("0", True), ("1", True), ("2", False)])
def test_one_of_the_first_two_processes_reports_a_lost_process(
    rank: str, printed: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCAL_RANK", rank)
    with pytest.raises(SystemExit) as end:
        error_lines.run(lose)
    assert end.value.code == 1
    assert capsys.readouterr().err == ("error: another process has ended\n" if printed else "")


def test_the_report_of_torchrun_has_the_error_of_a_process_that_does_not_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

    path = tmp_path / "error.json"
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(path))
    with pytest.raises(SystemExit):
        error_lines.fail("no\nsuch device", 2)
    assert capsys.readouterr().err == ""
    assert json.loads(path.read_text())["message"] == "error: no such device"
    assert ProcessFailure(local_rank=1, pid=1, exitcode=2, error_file=str(path)).message == "error: no such device"
