"""Errors as one line: their exit status, those of several processes, and threads that do not end."""

import errno
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from agents.protocol import AgentError, DivergenceError, LostProcessError
from games.errors import PathError
from terminal import console, error_lines
from tests import ROOT


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console.err, "quiet", console.err.quiet)  # `fail` changes it
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # `run` changes it


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


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (AgentError("no such agent"), 2, "no such agent"),
        (DivergenceError("the training diverged"), 1, "the training diverged"),
        (PathError(errno.ENOENT, "text", "runs/x"), 1, "this folder was removed: runs/x"),
        (PathError(errno.EISDIR, "text", "x.md"), 1, "expected a file, but this is a folder: x.md"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), 1, "the current folder was removed"),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory"), 1, "No usable temporary directory"),
    ],
)
def test_the_status_is_2_for_a_mistake_and_1_for_a_failure(
    error: Exception, status: int, line: str, leaves_threads: None, capsys: pytest.CaptureFixture[str]
) -> None:
    def app(**_: object) -> None:
        raise error

    with pytest.raises(SystemExit) as end:
        error_lines.run(app)
    assert (end.value.code, capsys.readouterr().err) == (status, f"error: {line}\n")


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR])
def test_a_missing_file_that_the_user_has_not_named_is_a_bug(number: int) -> None:
    def app(**_: object) -> None:
        raise OSError(number, "text", "agents/data/words.txt")

    with pytest.raises(OSError, match="words"):
        error_lines.run(app)


CLOSED = """
import os, sys
sys.argv += {options}
sys.path.insert(0, {root!r})
from terminal import console, error_lines
read, write = os.pipe()
os.dup2(write, {descriptor})
os.close(write), os.close(read)
def app(**_):
    {command}
error_lines.run(app)
"""


@pytest.mark.parametrize(("options", "unbuffered"), [([], ""), (["--json"], "1"), (["--json"], "")])
@pytest.mark.parametrize(
    ("descriptor", "command", "status"),
    [
        (1, "print('a')", 1),
        (1, "print('a' * 1_000_000)", 1),
        (1, "console.show('a')", 1),
        (2, "console.note('a'); print(1)", 1),
        (2, "print('a', file=sys.stderr)", 1),
        (2, "error_lines.fail('a mistake', 2)", 2),
    ],
)
def test_the_program_ends_silently_if_the_reader_of_a_stream_has_closed_it(
    options: list[str], unbuffered: str, descriptor: int, command: str, status: int
) -> None:
    code = CLOSED.format(options=options, root=str(ROOT), descriptor=descriptor, command=command)
    env = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (status, b"")


def test_a_broken_pipe_of_a_program_that_a_command_has_started_is_a_bug() -> None:
    def app(**_: object) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        error_lines.run(app)


THREADS = """
import signal, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
sys.path.insert(0, sys.argv[1])
from terminal import error_lines
{start}
begun = time.monotonic()
try:
    error_lines.leave(0)
finally:
    print("waited" if time.monotonic() - begun > error_lines.GRACE_SECONDS / 2 else "at once")
"""
IDLE = "pool = ThreadPoolExecutor(2); [pool.submit(abs, 1) for _ in range(2)]; time.sleep(0.2)"
WORKING = "pool = ThreadPoolExecutor(1); pool.submit(time.sleep, 600); time.sleep(0.2)"
HANGING = "threading.Thread(target=time.sleep, args=(600,)).start()"
INTERRUPT = "threading.Timer(0.3, signal.raise_signal, [signal.SIGINT]).start()"


def leaving(start: str) -> tuple[int, str, str]:
    code = THREADS.format(start=start)
    done = subprocess.run([sys.executable, "-c", code, ROOT], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def test_an_idle_executor_does_not_delay_the_exit() -> None:
    assert leaving(IDLE) == (0, "at once\n", "")


@pytest.mark.parametrize("start", [WORKING, HANGING])
def test_a_thread_that_works_on_is_named(start: str) -> None:
    status, _, err = leaving(start)
    assert status == 0
    assert err.startswith("a thread of the game is still running and ends now: ") and err.count("\n") == 1


@pytest.mark.parametrize("start", [WORKING, HANGING])
def test_ctrl_c_while_a_thread_works_on_exits_at_once(start: str) -> None:
    assert leaving(f"{start}; {INTERRUPT}") == (130, "", "")
