"""Jobs for the worker pool, and a script that submits them."""

import importlib
import os
import sys
import time
from concurrent.futures import wait
from pathlib import Path

from games.worker_pool import WorkerPool, note


def power(base: int, *, exponent: int = 2) -> int:
    return int(base**exponent)


def fail(error: BaseException) -> None:
    raise error


def noted(line: str) -> str:
    note(line)
    return line


def note_process(folder: Path, seconds: float = 60) -> int:
    """Create a file that is named by this process's id, then sleep."""
    (folder / str(os.getpid())).touch()
    time.sleep(seconds)
    return os.getpid()


def origin(module: str) -> str | None:
    """Return the path of the file that a worker imports as `module`."""
    return importlib.import_module(module).__file__


def import_path() -> list[str]:
    return sys.path


def main(folder: str) -> None:
    """Keep two workers busy."""
    with WorkerPool(2) as pool:
        wait([pool.submit(note_process, Path(folder)) for _ in range(4)])


if __name__ == "__main__":
    main(sys.argv[1])
