"""Child processes that end when their parent ends."""

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
    """Return environment variables that prevent a child process from importing modules in the user's folders."""
    # a file in the current folder or beside the script, such as `random.py`, could hide a module of Python
    script = getattr(sys.modules["__main__"], "__file__", None) or "-"
    user_folders = {Path.cwd(), Path(script).resolve().parent} - {ROOT}
    paths = [path for path in (Path(name).absolute() for name in sys.path) if path not in user_folders]
    return {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(map(str, paths))}


class Child:
    """A child process that calls `serve` with one end of a pipe. The attribute `connection` is the other end."""

    def __init__(self, serve: Callable[[Connection], None], **options: Any) -> None:
        self.connection, child_end = Pipe()
        arguments = f"{serve.__module__}:{serve.__name__}", _warning_format()
        code = f"from {__name__} import run; run({child_end.fileno()}, *{arguments!r})"
        self._oom_kills = oom_kills()
        with child_end:
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the child, too, ignores Ctrl-C
            try:
                self.process = subprocess.Popen(
                    [sys.executable, "-c", code],
                    stdin=subprocess.PIPE, pass_fds=[child_end.fileno()], env=python_environment(), **options,
                )  # fmt: skip
            except BlockingIOError:
                expected = "the user or the machine has too many processes; end some, or use fewer workers"
                raise BrokenExecutor(f"no child process can be started: {expected}") from None
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def why_it_ended(self) -> str:
        """Return the signal or exit status of the child as text."""
        try:
            status = self.process.wait(5)
        except subprocess.TimeoutExpired:
            return "it closed its pipe"
        return exit_reason(status, self._oom_kills)

    def end(self, seconds: float = 0.0) -> None:
        """Kill the child if it does not end within `seconds`."""
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
        finally:
            self.process.kill()
            self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.connection.close()


def exit_reason(status: int, oom_kills_before: int) -> str:
    """Convert a return code from the module `subprocess` to text, such as `SIGTERM`."""
    is_signal = -status in {member.value for member in signal.Signals}
    if status == -signal.SIGKILL and oom_kills() > oom_kills_before:
        return "SIGKILL; the kernel killed a process because the memory was full, so use fewer workers or less memory"
    return signal.Signals(-status).name if is_signal else f"exit status {status}"


def oom_kills() -> int:
    """Return the number of processes that the kernel has killed because the memory was full."""
    with contextlib.suppress(OSError):
        return int(dict(line.split() for line in VMSTAT.read_text().splitlines()).get("oom_kill", 0))
    return 0


def _warning_format() -> str:
    module, name = warnings.formatwarning.__module__, warnings.formatwarning.__name__
    return f"{module}:{name}" if module == "actde.warning_lines" else "warnings:formatwarning"


def run(pipe_descriptor: int, serve_path: str, warning_format: str) -> None:
    """In the child process, call the function `serve_path`, given as `module:name`."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    # a thread, because C code may block the main thread
    threading.Thread(target=_end_with_parent, daemon=True).start()
    warnings.formatwarning = resolve_name(warning_format)
    try:
        resolve_name(serve_path)(Connection(pipe_descriptor))
    except SystemExit:
        remove_scratch_folder()
        os._exit(128 + signal.SIGTERM)  # exit at once, because tearing down the modules takes a second


def _end_with_parent() -> None:
    os.read(0, 1)  # returns when the parent has closed the pipe or is dead
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)
