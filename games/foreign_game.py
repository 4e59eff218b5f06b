"""Play environments of others by the rules of the package `games`.

An environment may lack our info keys, offer no commands, return observations that are no plain text, or fail. Failures
end the episode with an `EpisodeError`, whose `kind` is the same for failures of one cause.
"""

import math
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded

from games.base import NOT_RUNNING, Info, Step
from games.code_import import code_errors
from games.errors import EpisodeError, GameError

MAX_COMMAND = 200
"""Maximum number of characters in a command that an environment offers."""
NUMBERS = ("score", "max_score", "moves")
"""Entries of an info that must be finite numbers. Only `max_score` may also be None, if it is unknown."""


class ForeignGame(gymnasium.Wrapper[str, str, Any, Any]):
    """Adapts an environment to the rules of `games`.

    Observations become text (see `as_text`). Missing entries of the info get their defaults: no admissible commands,
    the sum of the rewards as score, not lost, and the number of commands as moves. `won` keeps its last value in the
    episode. Without one it is False if the game is lost, and otherwise None. As in our games, a step before `reset`,
    after the end or after a failure raises `gymnasium.error.ResetNeeded`.

    Args:
        env: an environment whose actions are texts.
        name: name of the game in error messages.
        seed: seed of every episode. If None, the seed that `reset` receives is used.

    Raises:
        EpisodeError: on reset or step, if the environment raises or returns something unusable.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], name: str, *, seed: int | None = None) -> None:
        super().__init__(env)
        self.name, self.seed = name, seed
        self._score, self._moves, self._running = 0.0, 0, False
        self._won: Any = None
        actions = getattr(env, "action_space", None)
        if not isinstance(actions, gymnasium.spaces.Text):
            raise GameError(f"{name}: expected an environment whose actions are texts, got action_space={actions}")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, Info]:
        self._score, self._moves, self._running, self._won = 0.0, 0, False, None
        with self._guarded("reset"):
            result = self.env.reset(seed=seed if self.seed is None else self.seed, options=options)
        if not (isinstance(result, tuple) and len(result) == 2):
            raise self._error("result", f"reset returned {_short(result)}, not (observation, info)")
        observation, info = result
        text, info = self._text(observation), self._info(info)
        self._running = True
        return text, info

    def step(self, action: str) -> Step:
        if not self._running:
            raise ResetNeeded(NOT_RUNNING)
        self._running = False  # unless this step succeeds
        with self._guarded("step"):
            result = self.env.step(action)
        if not (isinstance(result, tuple) and len(result) == 5):
            got = _short(result)
            raise self._error("result", f"step returned {got}, not (observation, reward, terminated, truncated, info)")
        observation, reward, terminated, truncated, info = result
        self._moves += 1
        number = _number(reward)
        if not math.isfinite(number):
            raise self._error("reward", f"step returned the reward {_short(reward)}, not a finite number")
        self._score += number
        for flag in (terminated, truncated):
            if not isinstance(flag, bool | np.bool_ | int | np.integer):
                raise self._error("result", f"step returned {_short(flag)} as an end of the episode, not True or False")
        truncated = bool(truncated) and not terminated
        checked = self._info(info)
        if terminated or truncated:
            checked["admissible_commands"] = []
        text = self._text(observation)
        self._running = not (terminated or truncated)
        return text, number, bool(terminated), truncated, checked

    def close(self) -> None:
        with suppress(EpisodeError), self._guarded("close"):  # no result depends on `close`
            super().close()

    def _info(self, info: object) -> Info:
        if not isinstance(info, Mapping):
            raise self._error("info", f"the info is {_short(info)}, not a dict")
        for name in NUMBERS:
            value = info.get(name, 0)
            if not math.isfinite(_number(value)) and not (name == "max_score" and value is None):
                raise self._error("info", f"{name} in the info is {_short(value)}, not a finite number")
        self._won = info.get("won", False if info.get("lost") and self._won is None else self._won)
        defaults = {"score": self._score, "won": self._won, "lost": False, "moves": self._moves}
        return {**defaults, **info, "admissible_commands": self._commands(info.get("admissible_commands"))}

    def _commands(self, commands: object) -> list[str]:
        if commands is None:
            return []
        if isinstance(commands, str) or not isinstance(commands, Sequence | np.ndarray | set | frozenset):
            raise self._error("commands", f"admissible_commands are {_short(commands)}, not a list of texts")
        checked = [str(command) for command in commands if isinstance(command, str)]
        bad = [command for command in checked if not _is_command(command)]
        if len(checked) < len(commands) or bad:
            wrong = bad[0] if bad else next(c for c in commands if not isinstance(c, str))
            expected = f"texts of 1 to {MAX_COMMAND} characters in one line"
            raise self._error("commands", f"admissible_commands hold {_short(wrong)}; expected {expected}")
        if len(set(checked)) < len(checked):
            twice = next(command for command in checked if checked.count(command) > 1)
            raise self._error("commands", f"admissible_commands hold {_short(twice)} twice")
        return sorted(checked)

    def _text(self, observation: object) -> str:
        text = as_text(observation)
        if text is None or not _is_utf8(text):
            raise self._error("observation", f"the observation is {_short(observation)}, not a text")
        return text

    def _error(self, kind: str, message: str) -> EpisodeError:
        return EpisodeError(f"{self.name}: {message}", kind=kind)

    @contextmanager
    def _guarded(self, method: str) -> Iterator[None]:
        """Turn an exception of the environment into an `EpisodeError`."""
        try:
            with code_errors(f"{self.name}: expected a result of {method},"):
                yield
        except GameError as error:
            raise EpisodeError(str(error), kind=f"{method} raised") from error.__cause__


def as_text(observation: object, *, inside: bool = False) -> str | None:
    """Return an observation as text, or None if it cannot be shown as text.

    Texts are accepted, and so are dicts, tuples and arrays of texts, as Gymnasium's wrappers make them. Each entry
    becomes a line. A number is accepted only as an entry.
    """
    match observation:
        case str():
            return str(observation)
        case np.ndarray() if observation.ndim == 0:
            return as_text(observation.item(), inside=inside)
        case np.ndarray() if not inside and observation.dtype.kind not in "UO":
            return None
        case Mapping():
            lines = [(f"{name}: ", as_text(value, inside=True)) for name, value in observation.items()]
        case tuple() | list() | np.ndarray():
            lines = [("", as_text(value, inside=True)) for value in observation]
        case int() | float() | np.number() | np.bool_() if inside:
            return str(observation)
        case _:
            return None
    texts = [head + text for head, text in lines if text is not None]
    return "\n".join(texts) if texts and len(texts) == len(lines) else None


def _number(value: object) -> float:
    """Return a number as float, and NaN for any other value, even for a text or bytes that `float` can parse."""
    if isinstance(value, str | bytes | bytearray):
        return math.nan
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _is_command(text: str) -> bool:
    return bool(text.strip()) and len(text) <= MAX_COMMAND and len(text.splitlines()) == 1 and _is_utf8(text)


def _is_utf8(text: str) -> bool:
    """Return whether a text can be encoded in UTF-8. A lone surrogate cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _short(value: object) -> str:
    return " ".join(reprlib.repr(value).split())
