"""An engine that runs another engine in a child process, so that a broken game file cannot harm this process.

Parent and child exchange JSON messages over a pipe. Loading a game and playing a command have time limits. If the child
crashes, hangs or sends invalid JSON, the child is killed and the call raises a GameError of one line. The next `reset`
starts a new child.

The child works in an empty temporary folder and cannot write large files. The folder is deleted when the child ends.
This is not a sandbox against malicious code, because the child has the rights of the user.
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
"""Maps an engine's name to the location of the class or function that creates the engine. `cached` and `stock` play
TextWorld's games. `jericho` plays other Z-machine stories."""
COMMAND_SECONDS = 20.0
LOADING_SECONDS = 120.0
MAX_ANSWER = 16_000_000
"""The maximum size of one response in bytes. Some faulty games print endlessly."""
MAX_MEMORY = 4_000_000_000
MAX_FILE = 32_000_000
"""The limits of a child process, in bytes. `MAX_FILE` applies to each file that the child writes. This limit must
exceed 3 MB, because the interpreter writes a copy of its own library, which has this size."""


def inner_engine(name: str, story: Path, infos: Sequence[str]) -> Engine:
    """Create an engine for `story` in this process. `name` is a key of `INNER`."""
    module, _, factory = INNER[name].partition(":")
    engine: Engine = getattr(importlib.import_module(module), factory)(story, infos)
    return engine


class SubprocessEngine:
    """Plays `story` with the engine `inner` in a child process.

    `loading` and `seconds` are the limits of wall time, in seconds, for loading the game and for each command.
    A GameError is raised if a limit is exceeded.
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
        """Send `job` to the child and return its result. Kill the child after any failure and after an interrupt."""
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
    """A failure of the child process. The message is a predicate whose subject is "the game"."""


class _GameProcess:
    """A child process that works in an empty temporary folder."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="actde-game-", ignore_cleanup_errors=True)
        self.child = Child(serve, stdout=DEVNULL, stderr=DEVNULL, cwd=self._folder.name, start_new_session=True)

    def request(self, job: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Send `job` and return the reply, which must begin to arrive within `seconds`."""
        try:
            self.child.connection.send_bytes(json.dumps(job).encode())
            if not self.child.connection.poll(seconds):
                raise _ChildError(f"hangs (no answer within {seconds:g} s)")
            reply = json.loads(self.child.connection.recv_bytes(MAX_ANSWER))
        except (EOFError, ConnectionError):
            raise _ChildError(f"crashed its interpreter ({self.child.why_it_ended()})") from None
        except OSError:  # the response is longer than MAX_ANSWER
            raise _ChildError("prints endlessly") from None
        except (ValueError, RecursionError):
            raise _ChildError("sends invalid data") from None
        if not isinstance(reply, dict):
            raise _ChildError("sends invalid data")
        return reply

    def kill(self) -> None:
        """Kill the process if it is running, and delete its folder."""
        self.child.end()
        self._folder.cleanup()


def serve(connection: Connection) -> None:
    """Load the game that the first message names, then answer messages until the pipe closes.

    This function runs in the child process.
    """
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
    """Convert all lists in `value` to tuples, because JSON turns tuples into lists."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
