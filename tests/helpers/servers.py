"""The command `serve`, started in a child process."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests import ROOT


def serve(*words: str) -> "subprocess.Popen[str]":
    """Start the command."""
    command = [sys.executable, str(ROOT / "cli.py"), "serve", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@contextmanager
def server(game: str, *words: str) -> "Iterator[tuple[subprocess.Popen[str], str]]":
    """Yield a tuple: a process that serves a game on a free port, and the address of the game."""
    with serve("--game", game, *words, "--port", "0") as process:
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            assert line.startswith(f"serving {game} on http://127.0.0.1:"), line + process.stderr.read()
            yield process, line.split(" on ")[1].partition(";")[0]
        finally:
            process.kill()
