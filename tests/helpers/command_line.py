"""The command line in processes that are forked from one that has imported the large libraries."""

import atexit
import multiprocessing
import os
import re
import runpy
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests import ROOT

LIBRARIES = [
    "accelerate",
    "gymnasium",
    "peft",
    "scipy.stats",
    "textual",
    "textworld",
    "tokenizers",
    "torch",
    "transformers",
]
PROGRESS = re.compile(
    r"(setting up|(loading|reading|exporting) \S.*), \d+ s|starting|(after )?iteration \d+, \S.*|[\w-]+: \S.*, *\d+%.*"
)
"""A line of progress, which is printed only if a command takes longer than a second."""
STREAMS = ("input", "output", "errors")
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(LIBRARIES)


def surroundings(**more: str) -> dict[str, str]:
    """The environment of a command: that of the test run with 100 columns, no colours and buffered output."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return {**own, "COLUMNS": "100", "NO_COLOR": "1", **more}


def cli(
    *arguments: str, typed: str = "", env: Mapping[str, str] | None = None, cwd: Path = ROOT, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a command line in its own process. `typed` is its standard input. Python's warnings are errors.

    Lines of progress are left out of the result, because only slow computers print them.
    """
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder, name) for name in STREAMS]
        streams[0].write_text(typed, encoding="utf-8")
        process = PROCESSES.Process(target=_run, args=(arguments, streams, dict(env or surroundings()), str(cwd)))
        process.start()
        process.join(timeout)
        if process.is_alive():
            process.kill()
            raise subprocess.TimeoutExpired(["cli.py", *arguments], timeout)
        output, errors = (path.read_text(encoding="utf-8") for path in streams[1:])
        return subprocess.CompletedProcess(
            ["cli.py", *arguments], process.exitcode or 0, output, without_progress(errors)
        )


def without_progress(text: str) -> str:
    """The text without its lines of progress."""
    return "".join(line for line in text.splitlines(keepends=True) if not PROGRESS.fullmatch(line.rstrip("\n")))


def answer(*arguments: str, **settings: Any) -> str:
    """Return the standard output of a command that must succeed. Its standard error must be empty, except progress."""
    done = cli(*arguments, **settings)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def _run(arguments: tuple[str, ...], streams: list[Path], env: dict[str, str], cwd: str) -> None:
    for descriptor, path in enumerate(streams):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), descriptor)
    sys.stdin, sys.stdout, sys.stderr = map(os.fdopen, range(3), "rww")
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv = [str(ROOT / "cli.py"), *arguments]
    sys.path[:0] = [str(ROOT), *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    warnings.simplefilter("error")
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()
