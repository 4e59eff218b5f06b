"""An engine in a process of its own: what a game file does to the interpreter harms nobody else.

The child plays with another engine, chosen by its name, and talks in lines of JSON over pipes. Loading and every
command have a time limit. A child that dies, hangs or answers nonsense is ended: `step` raises GameError in one line,
and the next `reset` starts another. The child works in an empty folder that is deleted with it, and can write no
large file. It is no sandbox against malice: the child has the rights of the user.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from games.errors import GameError
from games.textworld.engines.protocol import Engine, EngineResponse, GameInfo

INNER = {
    "stock": "games.textworld.engines.stock:StockEngine",
    "remembering": "games.textworld.transitions.cache:engine",
    "story": "games.textworld.engines.jericho:JerichoEngine",
}
"""Name -> the engine that plays; in the child, or in this process for files that can be trusted."""
COMMAND_SECONDS = 20.0
LOADING_SECONDS = 120.0
MAX_ANSWER = 16_000_000
"""Bytes of one answer; some faults of games print without end."""
MAX_MEMORY = 4_000_000_000
MAX_FILE = 32_000_000
"""Bytes that a child may use, and may write to one file; the interpreter copies its own library (3 MB)."""
CODE = "from games.textworld.engines.subprocess_engine import serve; serve()"
TUPLES = ("admissible_commands", "policy_commands", "walkthrough", "command_templates", "verbs", "entities")


def inner_engine(name: str, story: Path, infos: Sequence[str]) -> Engine:
    """The engine that is called `name` in `INNER`, for `story`, in this process."""
    module, _, kind = INNER[name].partition(":")
    engine: Engine = getattr(importlib.import_module(module), kind)(story, infos)
    return engine


class IsolatedEngine:
    """Plays `story` with the engine `inner` in a child process; limits are in seconds of wall time.

    GameError where the child cannot load the game within `loading`, or answers no command within `seconds`.
    """

    def __init__(
        self,
        story: Path,
        infos: Sequence[str] = (),
        *,
        inner: str = "stock",
        seconds: float = COMMAND_SECONDS,
        loading: float = LOADING_SECONDS,
    ) -> None:
        self._story, self._seconds, self._loading = story.absolute(), seconds, loading
        self._job = {"inner": inner, "story": str(self._story), "infos": list(infos), "patience": seconds + loading}
        self._child: _Child | None = None
        self.facts = GameInfo(**_tuples(self._load()))

    def reset(self) -> EngineResponse:
        if self._child is None:
            self._load()
        return EngineResponse(**_tuples(self._ask({"do": "reset"}, "as it begins", self._loading)))

    def step(self, command: str) -> EngineResponse:
        if self._child is None:
            raise GameError(f"{self._story}: the game has failed before; it can begin anew")
        return EngineResponse(
            **_tuples(self._ask({"do": "step", "command": command}, f"at {command!r}", self._seconds))
        )

    def remembers(self, command: str) -> bool:
        return False

    def close(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def __del__(self) -> None:
        if getattr(self, "_child", None) is not None:
            self.close()

    def _load(self) -> dict[str, Any]:
        self._child = _Child()
        return self._ask(self._job, "while it is loaded", self._loading)

    def _ask(self, job: dict[str, Any], when: str, seconds: float) -> dict[str, Any]:
        """The child's answer; where there is none, the child is ended and GameError says why."""
        assert self._child is not None
        why = "interrupted"
        try:
            answer: Any = self._child.ask(job, seconds)
            if "failed" in answer:
                why = answer["failed"]
                raise GameError(why)
            why = ""
        except _ChildError as failure:
            why = f"{self._story}: the game {failure} {when}"
            raise GameError(why) from None
        finally:
            if why:
                self.close()
        found: dict[str, Any] = answer["answer"]
        return found


class _ChildError(Exception):
    """What a child did wrong; the message goes on after `the game`."""


class _Child:
    """A child process in an empty folder, and its pipes."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="actde-game-", ignore_cleanup_errors=True)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(Path(p).absolute()) for p in sys.path)}
        self._process = subprocess.Popen(
            [sys.executable, "-c", CODE],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            cwd=self._folder.name, env=environment, start_new_session=True,
        )  # fmt: skip

    def ask(self, job: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Send one line and read one, within the limit."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._death() from None
        try:
            answer = json.loads(self._line(time.monotonic() + seconds, seconds))
        except (ValueError, RecursionError):
            raise _ChildError("answers nonsense") from None
        if not isinstance(answer, dict):
            raise _ChildError("answers nonsense")
        return answer

    def end(self) -> None:
        """Kill it if it lives, and delete its folder."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self._process.wait()
        self._folder.cleanup()

    def _line(self, deadline: float, seconds: float) -> bytes:
        pipe: IO[bytes] | None = self._process.stdout
        assert pipe is not None
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        parts: list[bytes] = []
        size = 0
        while not (parts and parts[-1].endswith(b"\n")):
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise _ChildError(f"hangs (no answer within {seconds:g} s)")
            part = os.read(pipe.fileno(), 1 << 16)
            if not part:
                raise self._death()
            parts.append(part)
            size += len(part)
            if size > MAX_ANSWER:
                raise _ChildError("prints without end")
        return b"".join(parts)

    def _death(self) -> _ChildError:
        try:
            status = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return _ChildError("closed its pipe")
        known = -status in {signal.value for signal in signal.Signals}
        how = signal.Signals(-status).name if known else f"exit status {status}"
        return _ChildError(f"crashed its interpreter ({how})")


def serve() -> None:
    """The child: load the game that the first line names, then answer line by line until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = _private_output()
    _limit_resources()
    engine: Engine | None = None
    patience = 0.0
    for line in sys.stdin:
        job = json.loads(line)
        patience = job.get("patience", patience)
        signal.setitimer(signal.ITIMER_REAL, patience)  # ends a child that hangs when its parent is gone
        try:
            if engine is None:
                engine = inner_engine(job["inner"], Path(job["story"]), job["infos"])
                answer: dict[str, Any] = {"answer": asdict(engine.facts)}
            else:
                moment = engine.reset() if job["do"] == "reset" else engine.step(job["command"])
                answer = {"answer": asdict(moment)}
        except GameError as error:
            answer = {"failed": str(error)}
        signal.setitimer(signal.ITIMER_REAL, 0)
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


def _private_output() -> IO[bytes]:
    """A pipe to the parent that only we know: what the C library prints goes nowhere."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def _limit_resources() -> None:
    import resource

    for what, limit in ((resource.RLIMIT_AS, MAX_MEMORY), (resource.RLIMIT_FSIZE, MAX_FILE), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(what)
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(what, (limit, hard))


def _tuples(data: dict[str, Any]) -> dict[str, Any]:
    """JSON's lists as the tuples that they were."""
    if "typed_entities" in data:
        data["typed_entities"] = tuple(map(tuple, data["typed_entities"]))
    return {name: tuple(value) if name in TUPLES and value is not None else value for name, value in data.items()}
