"""An engine that runs another engine in a child process, so that a broken game file cannot harm this process.

Parent and child exchange JSON messages over a pipe. Loading and every command have a time limit. A child that crashes,
hangs or sends invalid JSON is killed: `step` raises GameError in one line, and the next `reset` starts a new child. The
child works in an empty folder that is deleted with it, and cannot write large files. This is no sandbox against
malice: the child has the rights of the user.
"""

from __future__ import annotations

import importlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

from games.child_process import Child
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
        self._job = {"inner": inner, "story": str(self._story), "infos": list(infos)}
        self._process: _GameProcess | None = None
        self.game_info = GameInfo(**self._load())

    def reset(self) -> EngineResponse:
        if self._process is None:
            self._load()
        return EngineResponse(**self._request({"do": "reset"}, "as it begins", self._loading))

    def step(self, command: str) -> EngineResponse:
        if self._process is None:
            raise GameError(f"{self._story}: the game has failed before; it can begin anew")
        job = {"do": "step", "command": command}
        return EngineResponse(**self._request(job, f"at {command!r}", self._seconds))

    def is_cached(self, command: str) -> bool:
        return False

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()

    def __del__(self) -> None:
        if getattr(self, "_process", None) is not None:
            self.close()

    def _load(self) -> dict[str, Any]:
        self._process = _GameProcess()
        return self._request(self._job, "while it is loaded", self._loading)

    def _request(self, job: dict[str, Any], when: str, seconds: float) -> dict[str, Any]:
        """Return the child's result. On any failure, and on an interrupt, kill the child."""
        assert self._process is not None
        succeeded = False
        try:
            reply = self._process.request(job, seconds)
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


class _GameProcess:
    """A child process in an empty folder."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="actde-game-", ignore_cleanup_errors=True)
        self.child = Child(serve, stdout=DEVNULL, stderr=DEVNULL, cwd=self._folder.name, start_new_session=True)

    def request(self, job: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Send one object and receive one, within `seconds`."""
        try:
            self.child.connection.send_bytes(json.dumps(job).encode())
            if not self.child.connection.poll(seconds):
                raise _ChildError(f"hangs (no answer within {seconds:g} s)")
            reply = json.loads(self.child.connection.recv_bytes(MAX_ANSWER))
        except (EOFError, ConnectionError):
            raise _ChildError(f"crashed its interpreter ({self.child.why_it_ended()})") from None
        except OSError:  # a longer response than MAX_ANSWER
            raise _ChildError("prints endlessly") from None
        except (ValueError, RecursionError):
            raise _ChildError("sends invalid data") from None
        if not isinstance(reply, dict):
            raise _ChildError("sends invalid data")
        return reply

    def kill(self) -> None:
        """Kill the process if it runs, and delete its folder."""
        self.child.end()
        self._folder.cleanup()


def serve(connection: Connection) -> None:
    """Run the child: load the game of the first message, then reply to each further message until the parent ends."""
    _limit_resources()
    engine: Engine | None = None
    while True:
        try:
            job = json.loads(connection.recv_bytes())
        except EOFError:
            return
        try:
            if engine is None:
                engine = inner_engine(job["inner"], Path(job["story"]), job["infos"])
                result: Any = engine.game_info
            else:
                result = engine.reset() if job["do"] == "reset" else engine.step(job["command"])
            reply: dict[str, Any] = {"result": asdict(result)}
        except GameError as error:
            reply = {"failed": str(error)}
        connection.send_bytes(json.dumps(reply).encode())


def _limit_resources() -> None:
    import resource

    for what, limit in ((resource.RLIMIT_AS, MAX_MEMORY), (resource.RLIMIT_FSIZE, MAX_FILE), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(what)
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(what, (limit, hard))


def _tuples(value: Any) -> Any:
    """Turn all lists of JSON back into tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
