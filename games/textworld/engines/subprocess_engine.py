"""An engine in a process of its own: what a game file does to the interpreter harms nobody else.

The child plays with another engine, chosen by its name, and exchanges messages of JSON over a pipe. Loading and every
command have a time limit. A child that dies, hangs or answers nonsense is ended: `step` raises GameError in one line,
and the next `reset` starts another. The child works in an empty folder that is deleted with it, and can write no
large file. It is no sandbox against malice: the child has the rights of the user.
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
        self._job = {"inner": inner, "story": str(self._story), "infos": list(infos)}
        self._process: _GameProcess | None = None
        self.facts = GameInfo(**_tuples(self._load()))

    def reset(self) -> EngineResponse:
        if self._process is None:
            self._load()
        return EngineResponse(**_tuples(self._ask({"do": "reset"}, "as it begins", self._loading)))

    def step(self, command: str) -> EngineResponse:
        if self._process is None:
            raise GameError(f"{self._story}: the game has failed before; it can begin anew")
        return EngineResponse(
            **_tuples(self._ask({"do": "step", "command": command}, f"at {command!r}", self._seconds))
        )

    def remembers(self, command: str) -> bool:
        return False

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end()

    def __del__(self) -> None:
        if getattr(self, "_process", None) is not None:
            self.close()

    def _load(self) -> dict[str, Any]:
        self._process = _GameProcess()
        return self._ask(self._job, "while it is loaded", self._loading)

    def _ask(self, job: dict[str, Any], when: str, seconds: float) -> dict[str, Any]:
        """The child's answer; where there is none, the child is ended and GameError says why."""
        assert self._process is not None
        why = "interrupted"
        try:
            answer: Any = self._process.ask(job, seconds)
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


class _GameProcess:
    """A child process in an empty folder."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="actde-game-", ignore_cleanup_errors=True)
        self.child = Child(serve, stdout=DEVNULL, stderr=DEVNULL, cwd=self._folder.name, start_new_session=True)

    def ask(self, job: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Send one object and receive one, within the limit."""
        try:
            self.child.connection.send_bytes(json.dumps(job).encode())
            if not self.child.connection.poll(seconds):
                raise _ChildError(f"hangs (no answer within {seconds:g} s)")
            answer = json.loads(self.child.connection.recv_bytes(MAX_ANSWER))
        except (EOFError, ConnectionError):
            raise _ChildError(f"crashed its interpreter ({self.child.why_it_ended()})") from None
        except OSError:  # a longer answer than MAX_ANSWER
            raise _ChildError("prints without end") from None
        except (ValueError, RecursionError):
            raise _ChildError("answers nonsense") from None
        if not isinstance(answer, dict):
            raise _ChildError("answers nonsense")
        return answer

    def end(self) -> None:
        """Kill it if it lives, and delete its folder."""
        self.child.end()
        self._folder.cleanup()


def serve(connection: Connection) -> None:
    """The child: load the game that the first message names, then answer one message after the other."""
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
                answer: dict[str, Any] = {"answer": asdict(engine.facts)}
            else:
                moment = engine.reset() if job["do"] == "reset" else engine.step(job["command"])
                answer = {"answer": asdict(moment)}
        except GameError as error:
            answer = {"failed": str(error)}
        connection.send_bytes(json.dumps(answer).encode())


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
