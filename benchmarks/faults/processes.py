"""Run commands in processes that are forked after all imports, and that can be killed before a system call."""

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
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.faults import forked_workers
from benchmarks.faults.result import Result
from benchmarks.faults.system_calls import Call, install_filter, serve

CLOCK = Path(__file__).parent / "clock"
SECONDS = 1800  # limit of a command on a busy machine


def prepare(*modules: str) -> None:
    """Import the command line and these modules, and adopt the orphans of killed commands."""
    for name in ("cli", *modules):
        importlib.import_module(name)
    forked_workers.adopt_orphans()


def import_as_in(work: Path) -> None:
    """Import the modules that commands in `work` have imported, so that later commands start at once."""
    for name in dict.fromkeys(_modules(work).read_text().split()):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()


def reproducibly(work: Path) -> Callable[[], object]:
    """Return a `set_up` for `run` with which two runs of a command write the same bytes.

    Clocks are replaced by counters (see `clock/sitecustomize.py`). Workers are forked, so they start at once.
    """

    def set_up() -> None:
        sys.path.append(str(CLOCK))  # workers that are not forked inherit the import path
        runpy.run_path(str(CLOCK / "sitecustomize.py"))
        forked_workers.install(_modules(work))

    return set_up


def run(
    words: Sequence[str] | Callable[[], object],
    work: Path,
    kills: Callable[[Call], bool] | None = None,
    *,
    set_up: Callable[[], object] = lambda: None,
    seconds: float = SECONDS,
) -> Result:
    """Run the command line, or a function, in a forked process in the folder `work`. Wait for all of its processes.

    Args:
        kills: called before each system call that changes files. If it returns true, the process is killed.
        set_up: called in the process before the command starts.
        seconds: limit of the wall time.

    Raises:
        TimeoutError: the command or one of its children runs longer. Its processes are killed.
    """
    printed = [work.with_name(f"{work.name}.{name}") for name in ("out", "err")]
    ours, theirs = socket.socketpair()
    if not (child := os.fork()):
        forked_workers.end_after(lambda: _main(words, work, printed, theirs if kills else None, set_up))
    theirs.close()
    with ours:
        idle = partial(serve, socket.recv_fds(ours, 1, 1)[1][0], kills) if kills else time.sleep
        status = wait_for_all(seconds, idle)[child]
    out, err = (path.read_text(errors="replace") for path in printed)
    return Result(status=status, out=out, err=err)


def succeed(
    words: Sequence[str] | Callable[[], object], work: Path, kills: Callable[[Call], bool] | None = None, **options: Any
) -> None:
    """Run a command that must succeed. The arguments are those of `run`."""
    result = run(words, work, kills, **options)
    if result.status:
        raise AssertionError(f"{words}: {result}")


def wait_for_all(seconds: float, idle: Callable[[float], object] = time.sleep) -> dict[int, int]:
    """Wait for all children of this process and for orphans of the command. Return exit statuses by process id.

    `idle` is called with a number of seconds while no child ends. After `seconds`, all children are killed.

    Raises:
        TimeoutError: a child still runs after `seconds`.
    """
    found, deadline = dict[int, int](), time.monotonic() + seconds
    with contextlib.suppress(ChildProcessError):
        while True:
            process, status = os.waitpid(-1, os.WNOHANG)
            if process:
                found[process] = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > deadline:
                _kill_all()
                raise TimeoutError(f"a process runs for more than {seconds:g} s")
            else:
                idle(0.01)
    return found


def _kill_all() -> None:
    """Kill all children of this process. Their children then become children of this process, and are killed, too."""
    with contextlib.suppress(ChildProcessError):
        while True:
            for task in Path("/proc/self/task").iterdir():
                for child in (task / "children").read_text().split():
                    os.kill(int(child), signal.SIGKILL)
            os.waitpid(-1, 0)


def _modules(work: Path) -> Path:
    """Return the file with the names of all modules that commands in `work` have imported."""
    return work.with_name(f"{work.name}.modules")


def _main(
    words: Sequence[str] | Callable[[], object],
    work: Path,
    printed: Sequence[Path],
    owner: socket.socket | None,
    set_up: Callable[[], object],
) -> None:
    """Run a command in a forked process with its own session, streams and folders.

    If `owner` is not None, also install a filter of system calls, and send the filter's descriptor to this socket.
    """
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
    if owner:
        descriptor = install_filter()
        socket.send_fds(owner, [b"x"], [descriptor])
        os.close(descriptor)
        owner.close()
    try:
        set_up()
        if callable(words):
            words()
        else:
            sys.argv = ["cli.py", *words]
            importlib.reload(sys.modules["cli"]).main()  # its options depend on `sys.argv`
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))  # of the set-up
        with contextlib.suppress(OSError):  # the set-up may have made the disk read-only
            forked_workers.record_modules(_modules(work))
