"""Commands in processes that are forked after all imports, and that strace can trace or kill."""

import atexit
import contextlib
import ctypes
import gc
import importlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
PR_SET_PTRACER, PR_SET_PTRACER_ANY = 0x59616D61, ctypes.c_ulong(-1)
SECONDS = 1800  # limit of a command; tracing is slow on a busy machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A process that has ended: its exit status, which is negative after a signal, and what it has printed."""

    status: int
    out: str
    err: str

    @property
    def is_one_line(self) -> bool:
        return self.err.count("\n") == 1 and "Traceback" not in self.err


def prepare() -> None:
    """Import the command line, and adopt the orphans of killed commands."""
    importlib.import_module("cli")
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def import_as_in(work: Path) -> None:
    """Import what the last command in the folder `work` has imported, so that later commands start at once."""
    for name in work.with_name(f"{work.name}.modules").read_text().split():
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()


def nothing() -> None:
    """Set nothing up."""


def run(
    words: Sequence[str],
    work: Path,
    tracer: Sequence[str] = (),
    log: Path | None = None,
    *,
    set_up: Callable[[], object] = nothing,
    seconds: float = SECONDS,
) -> Done:
    """Run the command line in the folder `work`, and wait for all of its processes.

    Args:
        tracer: options of strace, which attaches to the process before the command starts. Without, nothing is traced.
        log: strace's output.
        set_up: called in the process before the command starts.
        seconds: limit of the wall time.

    Raises:
        TimeoutError: the command or one of its children runs longer. Its processes are killed.
    """
    printed = [work.with_name(f"{work.name}.{name}") for name in ("out", "err")]
    gate, opener = os.pipe()
    child = os.fork()
    if not child:
        _be_command(words, work, printed, gate, set_up)
    os.close(gate)
    if tracer:
        command = ["strace", "-f", "-qq", "-y", "-s", "0", "-o", str(log), *tracer, "-p", str(child)]
        strace = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        status = Path(f"/proc/{child}/status")
        while "TracerPid:\t0" in status.read_text():
            if strace.poll() is not None:
                raise OSError("strace cannot attach to a process")
            time.sleep(0.01)
    os.write(opener, b"x")
    os.close(opener)
    status_of_child = _wait_for_all(child, seconds)
    out, err = (path.read_text(errors="replace") for path in printed)
    return Done(status=status_of_child, out=out, err=err)


def _wait_for_all(child: int, seconds: float) -> int:
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
                time.sleep(0.01)
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
    words: Sequence[str], work: Path, printed: Sequence[Path], gate: int, set_up: Callable[[], object]
) -> None:
    """Turn the forked process into one that runs the command line."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0)
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
    try:
        os.read(gate, 1)
        set_up()
        importlib.reload(sys.modules["cli"]).main()  # its options depend on `sys.argv`
    finally:  # never return to the code of the parent
        error = sys.exception()
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))  # of the set-up
        if not isinstance(error, SystemExit):
            traceback.print_exc()
        with contextlib.suppress(OSError):  # the set-up may have made the disk read-only
            names = set(sys.modules) - {"__main__", "sitecustomize"}
            work.with_name(f"{work.name}.modules").write_text("\n".join(names))
        threading._shutdown()  # type: ignore[attr-defined]  # as at the end of a process that was not forked
        atexit._run_exitfuncs()
        with contextlib.suppress(OSError, ValueError):  # the command may have closed them
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1)
