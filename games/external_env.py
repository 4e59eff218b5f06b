"""Adapt third-party environments to the rules of the package `games`."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import gymnasium
from gymnasium.error import ResetNeeded

from games.base import NOT_RUNNING, Info, Step
from games.code_import import code_errors
from games.errors import EpisodeError, GameError
from games.external_values import (
    UnusableValueError,
    checked_actions,
    checked_flag,
    checked_info,
    checked_metadata,
    checked_reward,
    checked_text,
    short,
)


class ExternalEnv(gymnasium.Wrapper[str, str, Any, Any]):
    """Wraps a third-party environment. Converts observations to text and adds missing `info` entries.

    Args:
        name: name of the game in error messages.
        seed: if not None, `seed` replaces the seed of every `reset`.

    Raises:
        GameError: the environment is unusable, for example because its actions are not texts.
        EpisodeError: on reset or step, the environment raises an exception or returns an unusable value.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], name: str, *, seed: int | None = None) -> None:
        super().__init__(env)
        self.name, self.seed = name, seed
        self._score, self._moves, self._running = 0.0, 0, False
        self._won: Any = None
        try:
            with self._guarded("the constructor"):
                for method in ("reset", "step"):
                    if getattr(getattr(env.unwrapped, method), "__func__", None) is getattr(gymnasium.Env, method):
                        name = type(env.unwrapped).__name__
                        raise UnusableValueError("class", f"the class {name} defines no method {method!r}")
                self.action_space = checked_actions(getattr(env, "action_space", None))
                self.metadata = checked_metadata(getattr(env, "metadata", {}))
        except EpisodeError as error:
            raise GameError(str(error)) from error.__cause__

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, Info]:
        self._score, self._moves, self._running, self._won = 0.0, 0, False, None
        with self._guarded("reset"):
            result = self.env.reset(seed=seed if self.seed is None else self.seed, options=options)
            if not (isinstance(result, tuple) and len(result) == 2):
                raise UnusableValueError("result", f"reset returned {short(result)}, not (observation, info)")
            observation, info = result
            text, info = checked_text(observation), self._info(info)
        self._running = True
        return text, info

    def step(self, action: str) -> Step:
        if not self._running:
            raise ResetNeeded(NOT_RUNNING)
        self._running = False  # unless this step succeeds
        with self._guarded("step"):
            result = self.env.step(action)
            if not (isinstance(result, tuple) and len(result) == 5):
                expected = "(observation, reward, terminated, truncated, info)"
                raise UnusableValueError("result", f"step returned {short(result)}, not {expected}")
            observation, reward, terminated, truncated, info = result
            self._moves += 1
            number = checked_reward(reward)
            self._score += number
            terminated, truncated = checked_flag(terminated), checked_flag(truncated)
            checked = self._info(info)
            if terminated or truncated:
                checked["admissible_commands"] = []
            text = checked_text(observation)
        self._running = not (terminated or truncated)
        return text, number, terminated, truncated and not terminated, checked

    def close(self) -> None:
        with suppress(EpisodeError), self._guarded("close"):  # no result depends on `close`
            super().close()

    def _info(self, info: object) -> Info:
        checked = checked_info(info, {"score": self._score, "lost": False, "moves": self._moves})
        # `won` keeps its value until the end of the episode
        if checked.get("won") is not None:
            self._won = checked["won"]
        elif checked["lost"] and self._won is None:
            self._won = False
        return checked | {"won": self._won}

    @contextmanager
    def _guarded(self, method: str) -> Iterator[None]:
        try:
            with code_errors(f"{self.name}: expected a result of {method},"):
                yield
        except GameError as error:
            if isinstance(cause := error.__cause__, UnusableValueError):
                raise EpisodeError(f"{self.name}: {cause}", kind=cause.kind) from None
            raise EpisodeError(str(error), kind=f"{method} raised") from cause
