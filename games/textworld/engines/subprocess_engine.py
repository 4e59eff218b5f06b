"""Run an engine in a child process, which confines crashes but is no sandbox."""

import contextlib
import json
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from pkgutil import resolve_name
from subprocess import DEVNULL
from typing import Any

from games.child_process import Child
from games.errors import GameError
from games.files import scratch_folder
from games.textworld.engines.protocol import Engine, EngineResponse, GameInfo

ENGINE_FACTORIES = {
    "stock": "games.textworld.engines.stock:StockEngine",
    "cached": "games.textworld.transitions.cache:PROCESS_CACHE.engine",
    "jericho": "games.textworld.engines.jericho:JerichoEngine",
    "pddl": "games.textworld.engines.pddl:PddlEngine",
}
"""Name of an engine -> the class or function that creates the engine."""
COMMAND_SECONDS = 20.0  # the time limit for each command
LOADING_SECONDS = 120.0  # the time limit for loading the game and for each reset
# limits of a child in bytes: one response (some faulty games print endlessly), the memory, and each file that it writes
MAX_ANSWER, MAX_MEMORY = 16_000_000, 4_000_000_000
MAX_FILE = 32_000_000  # the interpreter writes a copy of its own library, 3 MB


def create_engine(name: str, story: Path, infos: Sequence[str]) -> Engine:
    """Create an engine in this process. `name` is a key of `ENGINE_FACTORIES`."""
    engine: Engine = resolve_name(ENGINE_FACTORIES[name])(story, infos)
    return engine


class SubprocessEngine(Engine):
    """Plays a game with another engine in a child process. If the child fails, the next `reset` starts a new child."""

    _child: Child | None = None

    def __init__(
        self,
        story: Path,
        infos: Sequence[str] = (),
        *,
        engine_name: str = "stock",
        step_seconds: float = COMMAND_SECONDS,
        loading_seconds: float = LOADING_SECONDS,
    ) -> None:
        self._story, self._step_seconds, self._loading_seconds = story.absolute(), step_seconds, loading_seconds
        self._job = {"inner": engine_name, "story": str(self._story), "infos": list(infos)}
        self.game_info = GameInfo(**self._load())

    def reset(self) -> EngineResponse:
        if self._child is None:
            self._load()
        return EngineResponse(**self._request({"do": "reset"}, "as it begins", self._loading_seconds))

    def step(self, command: str) -> EngineResponse:
        if self._child is None:
            raise GameError(f"{self._story}: the game has failed before; it can begin anew")
        job = {"do": "step", "command": command}
        return EngineResponse(**self._request(job, f"at {command!r}", self._step_seconds))

    def close(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()
            self._folder.cleanup()

    __del__ = close

    def _load(self) -> dict[str, Any]:
        self._folder = tempfile.TemporaryDirectory(prefix="game-", dir=scratch_folder(), ignore_cleanup_errors=True)
        self._child = Child(serve, stdout=DEVNULL, stderr=DEVNULL, cwd=self._folder.name, start_new_session=True)
        return self._request(self._job, "while it is loaded", self._loading_seconds)

    def _request(self, job: dict[str, Any], moment: str, seconds: float) -> dict[str, Any]:
        """Send `job` to the child and return the result. `moment` is a phrase for error messages."""
        assert self._child is not None
        connection, reply, failure = self._child.connection, None, "sends invalid data"
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(self.close)
            try:
                connection.send_bytes(json.dumps(job).encode())
                if connection.poll(seconds):
                    reply = json.loads(connection.recv_bytes(MAX_ANSWER))
                else:
                    failure = f"hangs (no answer within {seconds:g} s)"
            except (EOFError, ConnectionError):
                failure = f"crashed its interpreter ({self._child.why_it_ended()})"
            except OSError:  # the response is longer than MAX_ANSWER
                failure = "prints endlessly"
            except (ValueError, RecursionError):
                pass
            match reply:
                case {"result": dict(result)}:
                    on_failure.pop_all()
                    return {name: _lists_to_tuples(value) for name, value in result.items()}
                case {"failed": str(message)}:
                    raise GameError(message)
                case {"bug": str(trace)}:
                    raise RuntimeError(f"{self._story}: the engine has a bug {moment}\n{trace}")
            raise GameError(f"{self._story}: the game {failure} {moment}")


def serve(connection: Connection) -> None:
    """Run in the child: create an engine, then answer the parent's messages."""
    _limit_resources()
    tempfile.tempdir = str(Path.cwd())  # the parent removes this folder
    sys.excepthook = partial(_send_bug, connection)
    engine: Engine | None = None
    while True:
        try:
            job = json.loads(connection.recv_bytes())
        except EOFError:
            return
        try:
            if engine is None:
                engine = create_engine(job["inner"], Path(job["story"]), job["infos"])
                result: Any = engine.game_info
            else:
                result = engine.reset() if job["do"] == "reset" else engine.step(job["command"])
            reply: dict[str, Any] = {"result": asdict(result)}
        except GameError as error:
            reply = {"failed": str(error)}
        connection.send_bytes(json.dumps(reply).encode())


def _send_bug(connection: Connection, error_type: type[BaseException], error: BaseException, trace: Any) -> None:
    text = "".join(traceback.format_exception(error_type, error, trace))
    connection.send_bytes(json.dumps({"bug": text}).encode())


def _limit_resources() -> None:
    import resource

    limits = {resource.RLIMIT_AS: MAX_MEMORY, resource.RLIMIT_FSIZE: MAX_FILE, resource.RLIMIT_CORE: 0}
    for resource_id, limit in limits.items():
        _, hard_limit = resource.getrlimit(resource_id)
        soft_limit = limit if hard_limit == resource.RLIM_INFINITY else min(limit, hard_limit)
        resource.setrlimit(resource_id, (soft_limit, hard_limit))


def _lists_to_tuples(value: Any) -> Any:
    return tuple(map(_lists_to_tuples, value)) if isinstance(value, list) else value
