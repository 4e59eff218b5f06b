"""A game in a child process, with a time limit for each reset and each step."""

from __future__ import annotations

import contextlib
import string
import traceback
from concurrent.futures import BrokenExecutor
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Text

from games.base import NOT_RUNNING, Info, Step
from games.child_process import Child
from games.code_import import CODE, code_errors, import_code, named_code
from games.errors import EpisodeError, is_out_of_memory

if TYPE_CHECKING:
    from games.game_spec import GameSpec

# time limit for starting the child, importing the code of the game, and constructing the environment
START_SECONDS = 120.0
MEMORY_ADVICE = "finished work is kept; give it more memory"
MAX_DEPTH = 20  # maximum depth of nested collections in an info
# types that an `info` may contain. The child drops other entries.
PLAIN = (type(None), bool, int, float, str, bytes)
COLLECTIONS = (list, tuple, set, frozenset)
# replaces the action space or observation space of a game if the space is not Gymnasium's `Text`
ANY_TEXT = Text(1_000_000, min_length=0, charset=string.printable)


class ProcessGame(gymnasium.Env[str, str]):
    """Plays a game in a child process. Raises EpisodeError if a call exceeds `seconds` or the process ends."""

    def __init__(self, spec: GameSpec, seconds: float, **keywords: Any) -> None:
        self.name, self.seconds = spec.name, seconds
        sources: list[str] = []  # the modules and files that the child must import before it can make the game
        if spec.kind == "open":
            code = CODE.fullmatch(spec.target)
            sources = [code["source"]] if code else named_code()  # code that the user named has registered the id
        self._arguments = sources, replace(spec, step_seconds=None), keywords
        self._child: Child | None = None
        self._start()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, Info]:
        if self._child is None:
            self._start()
        text, info = self._request("reset", self.seconds, seed=seed, options=options)
        return text, info

    def step(self, action: str) -> Step:
        if self._child is None:
            raise ResetNeeded(NOT_RUNNING)
        text, reward, terminated, truncated, info = self._request("step", self.seconds, action)
        return text, reward, terminated, truncated, info

    def render(self) -> Any:
        return self._request("render", self.seconds)

    def close(self) -> None:
        if self._child is not None:
            with contextlib.suppress(EpisodeError):
                self._request("close", self.seconds)
        self._kill()

    def _start(self) -> None:
        self._child = Child(serve, stdout=2)
        try:
            attributes = self._request("constructor", START_SECONDS, *self._arguments)
        except (ValueError, BrokenExecutor):
            self._kill()
            raise
        self.metadata = attributes["metadata"]
        self.action_space, self.observation_space = attributes["spaces"]
        self.vocabulary, self.strategies = attributes["vocabulary"], attributes["strategies"]

    def _kill(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()

    __del__ = _kill

    def _request(self, method: str, seconds: float, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the environment in the child. Kill the child if the call takes longer than `seconds`."""
        assert self._child is not None
        connection, expected = self._child.connection, f"{self.name}: expected a result of {method}"
        with contextlib.ExitStack() as unless_it_answers:
            unless_it_answers.callback(self._kill)
            try:
                connection.send((method, args, kwargs))
                if not connection.poll(seconds):  # a timer in the child could not stop C code
                    hint = "a slow game needs a larger --step-seconds"
                    raise EpisodeError(f"{expected} within {seconds:g} s, got none; {hint}", kind="time")
                succeeded, result = connection.recv()
            except (EOFError, ConnectionError):
                ended = f"its process ended ({self._child.why_it_ended()})"
                raise EpisodeError(f"{expected}, but {ended}", kind="process ended") from None
            unless_it_answers.pop_all()
        if succeeded:
            return result
        raise result


def serve(connection: Connection) -> None:
    """In the child process, make the game and call the methods that the parent requests."""
    env: gymnasium.Env[str, str] | None = None
    while True:
        try:
            method, args, kwargs = connection.recv()
        except EOFError:
            return
        try:
            if env is None:
                sources, spec, keywords = args
                for source in sources:
                    import_code(source)
                env = spec.make(**keywords)
                result: Any = _env_attributes(env)
            else:
                result = _sendable(getattr(env, method)(*args, **kwargs))
        except (ValueError, TypeError, gymnasium.error.Error) as error:
            error.add_note(f"In a child process:\n{traceback.format_exc()}")
            connection.send((False, error))
        except (MemoryError, RuntimeError, ImportError) as error:
            if not is_out_of_memory(error):
                raise
            connection.send(
                (False, BrokenExecutor(f"the process of a game ran out of memory in {method}; {MEMORY_ADVICE}"))
            )
        else:
            connection.send((True, result))


def _env_attributes(env: gymnasium.Env[str, str]) -> dict[str, Any]:
    with code_errors("expected attributes of the environment,"):
        spaces = [space if type(space) is Text else ANY_TEXT for space in (env.action_space, env.observation_space)]
        vocabulary, strategies = (getattr(env.unwrapped, name, None) for name in ("vocabulary", "strategies"))
    return {
        "metadata": {key: value for key, value in env.metadata.items() if _is_plain(value)},
        "spaces": spaces,
        "vocabulary": vocabulary if _is_plain(vocabulary) else None,
        "strategies": strategies if strategies and _is_plain(strategies) else (),
    }


def _sendable(result: Any) -> Any:
    if not (isinstance(result, tuple) and isinstance(result[-1], dict)):
        return result if _is_plain(result) else None
    return *result[:-1], {key: value for key, value in result[-1].items() if _is_plain(value)}


def _is_plain(value: object, depth: int = 0) -> bool:
    if type(value) is dict:
        return depth < MAX_DEPTH and all(_is_plain(item, depth + 1) for pair in value.items() for item in pair)
    if type(value) in COLLECTIONS:
        return depth < MAX_DEPTH and all(_is_plain(item, depth + 1) for item in value)  # type: ignore[attr-defined]
    if type(value) is np.ndarray:
        return not value.dtype.hasobject
    return type(value) in PLAIN or isinstance(value, np.generic)
