"""Commands in processes that are forked after all imports, and that can be killed before a system call."""

import contextlib
import gc
import importlib
import os
import resource
import runpy
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from benchmarks.faults import forked_workers
from benchmarks.faults.system_calls import Call, Supervisor, install_filter

CLOCK = Path(__file__).parent / "clock"
SECONDS = 1800  # limit of a command on a busy machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A process that has ended: its exit status, which is negative after a signal, and what it has printed."""

    status: int
    out: str
    err: str

    @property
    def is_one_line(self) -> bool:
        return self.err.count("\n") == 1 and "Traceback" not in self.err


def prepare(*modules: str) -> None:
    """Import the command line and these modules, and adopt the orphans of killed commands."""
    for name in ("cli", *modules):
        importlib.import_module(name)
    forked_workers.adopt_orphans()


def import_as_in(work: Path) -> None:
    """Import what the last command in the folder `work` has imported, so that later commands start at once."""
    for name in dict.fromkeys(_modules(work).read_text().split()):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()


def reproducibly(work: Path) -> Callable[[], object]:
    """Return a set-up for `run`: clocks count their calls, and workers are forked, so that they start at once."""

    def set_up() -> None:
        sys.path.append(str(CLOCK))  # workers that are not forked inherit the import path
        runpy.run_path(str(CLOCK / "sitecustomize.py"))
        forked_workers.install(_modules(work))

    return set_up


def nothing() -> None:
    """Set nothing up."""


def run(
    words: Sequence[str],
    work: Path,
    kills: Callable[[Call], bool] | None = None,
    *,
    set_up: Callable[[], object] = nothing,
    seconds: float = SECONDS,
) -> Done:
    """Run the command line in the folder `work`, and wait for all of its processes.

    Args:
        kills: called before each system call that changes files. If it returns true, the process is killed.
        set_up: called in the process before the command starts.
        seconds: limit of the wall time.

    Raises:
        TimeoutError: the command or one of its children runs longer. Its processes are killed.
    """
    printed = [work.with_name(f"{work.name}.{name}") for name in ("out", "err")]
    ours, theirs = socket.socketpair()
    child = os.fork()
    if not child:
        _be_command(words, work, printed, theirs if kills else None, set_up)
    theirs.close()
    with ours:
        supervisor = Supervisor(socket.recv_fds(ours, 1, 1)[1][0], kills) if kills else None
        status = _wait_for_all(child, supervisor, seconds)
    out, err = (path.read_text(errors="replace") for path in printed)
    return Done(status=status, out=out, err=err)


def _modules(work: Path) -> Path:
    """Return the file that names the modules that commands in the folder `work` have imported."""
    return work.with_name(f"{work.name}.modules")


def _wait_for_all(child: int, supervisor: Supervisor | None, seconds: float) -> int:
    """Wait for all children of this process, which include orphans of the command. Return the status of `child`."""
    found, deadline = 0, time.monotonic() + seconds
    with contextlib.suppress(ChildProcessError):
        while True:
            process, status = os.waitpid(-1, os.WNOHANG)
            if process == child:
                found = os.waitstatus_to_exitcode(status)
            elif not process:
                if time.monotonic() > deadline:
                    _kill_all()
                    raise TimeoutError(f"a process runs for more than {seconds:g} s")
                supervisor.serve(0.01) if supervisor else time.sleep(0.01)
    return found


def _kill_all() -> None:
    """Kill all children of this process, and their children, which become its own."""
    with contextlib.suppress(ChildProcessError):
        while True:
            for task in Path("/proc/self/task").iterdir():
                for child in (task / "children").read_text().split():
                    os.kill(int(child), signal.SIGKILL)
            os.waitpid(-1, 0)


def _be_command(
    words: Sequence[str],
    work: Path,
    printed: Sequence[Path],
    owner: socket.socket | None,
    set_up: Callable[[], object],
) -> NoReturn:
    """Turn the forked process into one that runs the command line."""
    forked_workers.end_with_parent()
    os.setsid()
    for descriptor, path in enumerate((Path(os.devnull), *printed)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), descriptor)
    os.chdir(work)
    for name, folder in (("ACTDE_CACHE", work / "cache"), ("TMPDIR", work / "tmp")):
        folder.mkdir(exist_ok=True)
        os.environ[name] = str(folder)
    tempfile.tempdir = None
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["cli.py", *words]
    if owner:
        descriptor = install_filter()
        socket.send_fds(owner, [b"x"], [descriptor])
        os.close(descriptor)
        owner.close()
    try:
        set_up()
        importlib.reload(sys.modules["cli"]).main()  # its options depend on `sys.argv`
    finally:  # never return to the code of the parent
        error = sys.exception()
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))  # of the set-up
        if not isinstance(error, SystemExit):
            traceback.print_exc()
        with contextlib.suppress(OSError):  # the set-up may have made the disk read-only
            forked_workers.record_modules(_modules(work))
        threading._shutdown()  # type: ignore[attr-defined]  # as at the end of a process that was not forked
        forked_workers.end(error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1)
