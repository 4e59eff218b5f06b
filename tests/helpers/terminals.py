"""The command line in a terminal."""

import fcntl
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

from tests import ROOT
from tests.helpers.command_line import surroundings


def bare(text: str) -> str:
    """The text without escape sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def terminal(*arguments: str) -> AbstractContextManager[tuple[subprocess.Popen[bytes], int]]:
    """Run the command line in a terminal, as `opened` does."""
    return opened([sys.executable, str(ROOT / "cli.py"), *arguments], surroundings())


@contextmanager
def opened(command: Sequence[str], env: Mapping[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run a command in its own terminal, whose keys send signals. Yield the process and our end of the terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def wait_for(handle: int, text: str, seconds: float = 30.0) -> str:
    """Read from a terminal until the text appears."""
    seen, end = "", time.monotonic() + seconds
    while text not in seen:
        ready, _, _ = select.select([handle], [], [], max(0.0, end - time.monotonic()))
        assert ready, f"{seen!r}\n{_processes(handle)}"
        seen = bare(seen + os.read(handle, 4096).decode(errors="replace"))
    return seen


def _processes(handle: int) -> str:
    """Return the state of the processes in a terminal."""
    group = str(os.tcgetpgrp(handle))
    return subprocess.run(["ps", "-s", group, "-o", "pid,stat,wchan,args"], capture_output=True, text=True).stdout


def press(handle: int, key: bytes) -> None:
    """Press a key as soon as the program reads single keys."""
    end = time.monotonic() + 30
    while termios.tcgetattr(handle)[3] & termios.ECHO:
        assert time.monotonic() < end
        time.sleep(0.01)
    os.write(handle, key)
