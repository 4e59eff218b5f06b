"""Child processes that run our code. They import nothing from the user's folder, and end when this process ends."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
"""The folder of our packages."""
GRACE = 2.0
"""Seconds in which a child that is told to end can remove its temporary files and end its own children."""


def python_environment() -> dict[str, str]:
    """Environment variables for a child that runs Python: its path is ours without the user's folders.

    Those are the current folder and the script's, where a file may be called like a module (`random.py`).
    """
    script = getattr(sys.modules["__main__"], "__file__", None) or "-"
    users = {Path.cwd(), Path(script).resolve().parent} - {ROOT}
    paths = [path for path in (Path(name).absolute() for name in sys.path) if path not in users]
    return {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(map(str, paths))}


class Child:
    """A child process that runs `serve(connection)`, a function at the top of one of our modules.

    `connection` is the other end of this one. Further arguments are those of `subprocess.Popen`. Ctrl-C does not reach
    the child; SIGTERM raises SystemExit in it. Its standard input is a pipe whose end it awaits in a thread, so it ends
    with this process even where its C code hangs.
    """

    def __init__(self, serve: Callable[[Connection], None], **options: Any) -> None:
        self.connection, theirs = Pipe()
        code = f"from {__name__} import run; run({theirs.fileno()}, {serve.__module__!r}, {serve.__name__!r})"
        with theirs:
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the child inherits it
            try:
                self.process = subprocess.Popen(
                    [sys.executable, "-c", code],
                    stdin=subprocess.PIPE, pass_fds=[theirs.fileno()], env=python_environment(), **options,
                )  # fmt: skip
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def why_it_ended(self) -> str:
        """The signal or the exit status with which a child that closed its connection has ended."""
        try:
            status = self.process.wait(5)
        except subprocess.TimeoutExpired:
            return "it closed its pipe"
        known = -status in {signal.value for signal in signal.Signals}
        return signal.Signals(-status).name if known else f"exit status {status}"

    def end(self, seconds: float = 0.0) -> None:
        """Give it so long to end by itself, then kill it."""
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
        finally:
            self.process.kill()
            self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.connection.close()


def run(descriptor: int, module: str, name: str) -> None:
    """In the child: run its function with its end of the connection."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        getattr(importlib.import_module(module), name)(Connection(descriptor))
    except SystemExit:
        os._exit(128 + signal.SIGTERM)  # at once: tearing down the modules takes a second


def _end_with_parent() -> None:
    os.read(0, 1)  # returns when the parent has closed the pipe or is dead
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)
