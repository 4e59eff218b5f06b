"""An engine that runs another engine in a child process, so that a broken game file cannot harm this process.

Parent and child exchange lines of JSON over pipes. Loading and every command have a time limit. A child that crashes,
hangs or sends invalid JSON is killed: `step` raises GameError in one line, and the next `reset` starts a new child. The
child works in an empty folder that is deleted with it, and cannot write large files. This is no sandbox against
malice: the child has the rights of the user.
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
    "cached": "games.textworld.transitions.cache:engine",
    "jericho": "games.textworld.engines.jericho:JerichoEngine",
}
"""Name -> the engine: `cached` and `stock` play TextWorld's games, `jericho` plays other stories."""
COMMAND_SECONDS = 20.0
LOADING_SECONDS = 120.0
MAX_ANSWER = 16_000_000
"""Bytes of one response; some faulty games print endlessly."""
MAX_MEMORY = 4_000_000_000
MAX_FILE = 32_000_000
"""Limits of a child: bytes of memory, and of one file; the interpreter copies its own library (3 MB)."""
CODE = "from games.textworld.engines.subprocess_engine import serve; serve()"


def inner_engine(name: str, story: Path, infos: Sequence[str]) -> Engine:
    """Create the engine `name` of `INNER` for `story`, in this process."""
    module, _, factory = INNER[name].partition(":")
    engine: Engine = getattr(importlib.import_module(module), factory)(story, infos)
    return engine


class SubprocessEngine:
    """Plays `story` with the engine `inner` in a child process.

    Raises GameError where loading takes more than `loading` seconds of wall time, or a command more than `seconds`.
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
        self._job = {"inner": inner, "story": str(self._story), "infos": list(infos), "timeout": seconds + loading}
        self._child: _Child | None = None
        self.game_info = GameInfo(**self._load())

    def reset(self) -> EngineResponse:
        if self._child is None:
            self._load()
        return EngineResponse(**self._request({"do": "reset"}, "as it begins", self._loading))

    def step(self, command: str) -> EngineResponse:
        if self._child is None:
            raise GameError(f"{self._story}: the game has failed before; it can begin anew")
        job = {"do": "step", "command": command}
        return EngineResponse(**self._request(job, f"at {command!r}", self._seconds))

    def is_cached(self, command: str) -> bool:
        return False

    def close(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()

    def __del__(self) -> None:
        if getattr(self, "_child", None) is not None:
            self.close()

    def _load(self) -> dict[str, Any]:
        self._child = _Child()
        return self._request(self._job, "while it is loaded", self._loading)

    def _request(self, job: dict[str, Any], when: str, seconds: float) -> dict[str, Any]:
        """Return the child's result. On any failure, and on an interrupt, kill the child."""
        assert self._child is not None
        succeeded = False
        try:
            reply = self._child.request(job, seconds)
            if "failed" in reply:
                raise GameError(reply["failed"])
            succeeded = True
        except _ChildError as failure:
            raise GameError(f"{self._story}: the game {failure} {when}") from None
        finally:
            if not succeeded:
                self.close()
        return {name: _tuples(value) for name, value in reply["result"].items()}


class _ChildError(Exception):
    """A failure of the child; its message continues `the game`."""


class _Child:
    """A child process in an empty folder, with its pipes."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="actde-game-", ignore_cleanup_errors=True)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(Path(p).absolute()) for p in sys.path)}
        self._process = subprocess.Popen(
            [sys.executable, "-c", CODE],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            cwd=self._folder.name, env=environment, start_new_session=True,
        )  # fmt: skip

    def request(self, job: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Send one line and read one, within `seconds`."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._exit_error() from None
        try:
            reply = json.loads(self._line(time.monotonic() + seconds, seconds))
        except (ValueError, RecursionError):
            raise _ChildError("sends invalid data") from None
        if not isinstance(reply, dict):
            raise _ChildError("sends invalid data")
        return reply

    def kill(self) -> None:
        """Kill the process if it runs, and delete its folder."""
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
                raise self._exit_error()
            parts.append(part)
            size += len(part)
            if size > MAX_ANSWER:
                raise _ChildError("prints endlessly")
        return b"".join(parts)

    def _exit_error(self) -> _ChildError:
        try:
            status = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return _ChildError("closed its pipe")
        known = -status in {signal.value for signal in signal.Signals}
        how = signal.Signals(-status).name if known else f"exit status {status}"
        return _ChildError(f"crashed its interpreter ({how})")


def serve() -> None:
    """Run the child: load the game of the first line, then reply to each further line until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    output = _private_output()
    _limit_resources()
    engine: Engine | None = None
    timeout = 0.0
    for line in sys.stdin:
        job = json.loads(line)
        timeout = job.get("timeout", timeout)
        signal.setitimer(signal.ITIMER_REAL, timeout)  # ends a child that hangs after its parent has exited
        try:
            if engine is None:
                engine = inner_engine(job["inner"], Path(job["story"]), job["infos"])
                result: Any = engine.game_info
            else:
                result = engine.reset() if job["do"] == "reset" else engine.step(job["command"])
            reply: dict[str, Any] = {"result": asdict(result)}
        except GameError as error:
            reply = {"failed": str(error)}
        signal.setitimer(signal.ITIMER_REAL, 0)
        output.write(json.dumps(reply).encode() + b"\n")
        output.flush()


def _private_output() -> IO[bytes]:
    """Return a pipe to the parent, and redirect standard output, so that the C library cannot print into the pipe."""
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return output


def _limit_resources() -> None:
    import resource

    for what, limit in ((resource.RLIMIT_AS, MAX_MEMORY), (resource.RLIMIT_FSIZE, MAX_FILE), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(what)
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(what, (limit, hard))


def _tuples(value: Any) -> Any:
    """Turn all lists of JSON back into tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
