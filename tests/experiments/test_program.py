"""Programs of the experiments print errors and warnings as one line."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from actde.errors import OptimizerError
from actde.warning_lines import warning_line
from agents.protocol import AgentError, DivergenceError
from experiments import program
from games.errors import GameError, PathError
from tests import ROOT


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (GameError("no such\ngame"), 2, "no such game"),
        (AgentError("no such agent"), 2, "no such agent"),
        (OptimizerError("no such optimizer"), 2, "no such optimizer"),
        (DivergenceError("it diverged"), 1, "it diverged"),
        (OSError(28, "No space left on device", "x.md"), 1, "No space left on device: x.md"),
        (PathError(20, "Not a directory", "x/y"), 1, "Not a directory: x/y"),
    ],
)
def test_an_error_is_one_line(error: Exception, status: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped, program.one_line_errors():
        raise error
    assert (stopped.value.code, capsys.readouterr().err) == (status, f"error: {line}\n")


@pytest.mark.parametrize("bug", [ValueError("ours"), FileNotFoundError(2, "No such file", "ours")])
def test_a_bug_passes(bug: Exception) -> None:
    with pytest.raises(type(bug), match="ours"), program.one_line_errors():
        raise bug


def test_a_warning_is_one_line(tmp_path: Path) -> None:
    code = "import warnings; from experiments import program; program.run(lambda: warnings.warn('two\\n  lines'))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "warning: two lines\n")


def test_the_format_of_warnings_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warnings, "formatwarning", str)
    with program.one_line_errors():
        assert warnings.formatwarning is warning_line
    assert warnings.formatwarning is not warning_line


def test_every_program_prints_lines() -> None:
    programs = [path for path in (ROOT / "experiments").rglob("*.py") if "__name__ ==" in path.read_text()]
    assert len(programs) > 10
    for path in programs:
        assert "program.run(main)" in path.read_text() or "@program.one_line_errors()" in path.read_text(), path
