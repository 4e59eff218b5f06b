"""Child processes that make candidate games for a curriculum. They import TextWorld once and end with us.

Jobs and answers are lines of JSON over pipes, so a child needs nothing of the parent's `__main__`, and one whose
parent is killed reads the end of its input and stops.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from games.errors import GameError

CODE = "from games.textworld.generation.workers import serve; serve()"


class Pool:
    """`size` child processes; `submit` gives one of them a job. A context manager that ends them all."""

    def __init__(self, size: int | None = None) -> None:
        if size is not None and not 1 <= size <= 256:
            raise GameError(f"workers={size}: expected a whole number from 1 to 256")
        self.size = min(_cpus(), 32) if size is None else size
        self._threads = ThreadPoolExecutor(self.size)
        self._children: list[subprocess.Popen[str]] = []
        self._mine = threading.local()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for child in list(self._children):  # their threads then read the end of the answers
            child.kill()
        self._threads.shutdown()
        for child in self._children:
            child.kill()
            child.communicate()

    def submit(self, job: Mapping[str, Any]) -> Future[dict[str, Any]]:
        """The verdict on one candidate (see `judge`), when it is ready."""
        return self._threads.submit(self._ask, json.dumps(job))

    def _ask(self, job: str) -> dict[str, Any]:
        child = self._child()
        assert child.stdin is not None and child.stdout is not None
        try:
            child.stdin.write(job + "\n")
            child.stdin.flush()
            line = child.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"a process that makes games died (exit status {child.wait()}); job: {job}")
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            raise GameError(answer["failed"])
        return answer

    def _child(self) -> subprocess.Popen[str]:
        """This thread's child, started when it is first needed."""
        if not hasattr(self._mine, "child"):
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            self._mine.child = subprocess.Popen(
                [sys.executable, "-c", CODE],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
            )  # fmt: skip
            self._children.append(self._mine.child)
        child: subprocess.Popen[str] = self._mine.child
        return child


def _cpus() -> int:
    """The CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def serve() -> None:
    """The child: read jobs, write verdicts, until the input ends. Ctrl-C is the parent's affair."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers, sys.stdout = sys.stdout, sys.stderr  # what TextWorld prints is no answer
    for line in sys.stdin:
        try:
            answer = judge(json.loads(line))
        except OSError as error:
            answer = {"failed": f"cannot write the curriculum: {error.strerror or error} ({error.filename})"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def judge(job: Mapping[str, Any]) -> dict[str, Any]:
    """Make one candidate: `verdict` is `made` (with the game's facts), `impossible` or `other split`.

    The files are written to `job["path"]` where the game belongs to `job["split"]`.
    """
    from games.textworld.generation import make_game
    from games.textworld.generation.dataset import split_of
    from games.textworld.generation.families import family
    from games.textworld.generation.manifest import files_hash

    settings = family(job["family"]).complete(job["values"])
    try:
        game = make_game.make_game(job["family"], settings)
        canonical = make_game.canonical_hash(game)
        if job["family"] != "cooking" and split_of(canonical) != job["split"]:
            return {"verdict": "other split"}
        make_game.write_game(game, Path(job["path"]))
    except GameError as error:
        return {"verdict": "impossible", "why": str(error)}
    return {
        "verdict": "made",
        "hash": canonical,
        "settings": settings,
        "max_score": int(game.max_score),
        "walkthrough_length": len(game.metadata["walkthrough"]),
        "sha256": files_hash(Path(job["path"])),
    }
