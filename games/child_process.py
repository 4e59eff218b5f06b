"""Child processes that run our code. They import nothing from the user's folders, and end when this process ends."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from games.files import remove_scratch_folder

VMSTAT = Path("/proc/vmstat")
ROOT = Path(__file__).resolve().parents[1]  # the folder that contains our packages
GRACE = 2.0  # seconds that a terminated child has to remove its temporary files and end its own children


def python_environment() -> dict[str, str]:
    """Return the environment variables for a Python child.

    The child's import path excludes the current folder and the folder of the main script, because a user's file there,
    such as `random.py`, could hide a module of Python.
    """
    script = getattr(sys.modules["__main__"], "__file__", None) or "-"
    users = {Path.cwd(), Path(script).resolve().parent} - {ROOT}
    paths = [path for path in (Path(name).absolute() for name in sys.path) if path not in users]
    return {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(map(str, paths))}


class Child:
    """A child process that calls `serve(connection)`. `serve` is a top-level function of one of our modules.

    A pipe joins the two processes. `serve` receives the child's end, and the attribute `connection` is the parent's
    end. `options` are passed to `subprocess.Popen`. Ctrl-C does not reach the child. SIGTERM raises SystemExit in the
    child.

    The child's standard input is a second pipe. A thread of the child ends the process when the parent closes this pipe
    or dies. This works even while C code blocks the main thread.
    """

    def __init__(self, serve: Callable[[Connection], None], **options: Any) -> None:
        self.connection, theirs = Pipe()
        names = f"{serve.__module__}:{serve.__name__}", _warning_format()
        code = f"from {__name__} import run; run({theirs.fileno()}, *{names!r})"
        self._oom_kills = oom_kills()
        with theirs:
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the child inherits this mask
            try:
                self.process = subprocess.Popen(
                    [sys.executable, "-c", code],
                    stdin=subprocess.PIPE, pass_fds=[theirs.fileno()], env=python_environment(), **options,
                )  # fmt: skip
            except BlockingIOError:
                expected = "the user or the machine has too many processes; end some, or use fewer workers"
                raise BrokenExecutor(f"no child process can be started: {expected}") from None
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def why_it_ended(self) -> str:
        """Return, as text, the signal or the exit status of a child that has closed its connection. Wait up to 5 s."""
        try:
            status = self.process.wait(5)
        except subprocess.TimeoutExpired:
            return "it closed its pipe"
        return why_ended(status, self._oom_kills)

    def end(self, seconds: float = 0.0) -> None:
        """Wait up to `seconds` for the child to end by itself. Then kill the child and close the connection."""
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
        finally:
            self.process.kill()
            self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.connection.close()


def why_ended(status: int, oom_kills_before: int) -> str:
    """Return, as text, the signal or exit status with which a child has ended.

    `status` is the return code of `subprocess`, and `oom_kills_before` the value of `oom_kills()` at the child's start.
    """
    known = -status in {signal.value for signal in signal.Signals}
    if status == -signal.SIGKILL and oom_kills() > oom_kills_before:
        return "SIGKILL; the kernel killed a process because the memory was full, so use fewer workers or less memory"
    return signal.Signals(-status).name if known else f"exit status {status}"


def oom_kills() -> int:
    """Return how many processes the kernel has killed because the memory was full, or 0 if the number is unknown."""
    with contextlib.suppress(OSError):
        return int(dict(line.split() for line in VMSTAT.read_text().splitlines()).get("oom_kill", 0))
    return 0


def _warning_format() -> str:
    """Return `module:name` of the function that formats the child's warnings.

    If `actde` formats the warnings of this process, the child uses the same function. Otherwise, it uses Python's own.
    """
    module, name = warnings.formatwarning.__module__, warnings.formatwarning.__name__
    return f"{module}:{name}" if module == "actde.warning_lines" else "warnings:formatwarning"


def run(descriptor: int, serve: str, warning_format: str) -> None:
    """Run `serve` in the child process, and format warnings with `warning_format`. Both are given as `module:name`.

    `descriptor` is the file descriptor of the child's end of the connection.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    warnings.formatwarning = resolve_name(warning_format)
    try:
        resolve_name(serve)(Connection(descriptor))
    except SystemExit:
        remove_scratch_folder()
        os._exit(128 + signal.SIGTERM)  # exit at once, because tearing down the modules takes a second


def _end_with_parent() -> None:
    os.read(0, 1)  # returns when the parent has closed the pipe or is dead
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)
