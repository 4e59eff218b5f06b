"""A Gymnasium vector environment for text games."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import methodcaller
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from games.base import Info, Step
from games.errors import FatalGameError, GameError, nearest
from games.failures import Failures, error_kind
from games.game_spec import GameSpec
from games.game_strings import resolve

Batch = tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], Info]


class TextVectorEnv(VectorEnv[tuple[str, ...], Sequence[str], NDArray[Any]]):
    """A vector environment with one environment per game.

    If a step raises GameError, the episode is truncated and `infos["error"]` holds the error message.
    """

    def __init__(
        self,
        games: str | Sequence[GameSpec],
        *,
        max_turns: int | None = None,
        infos: Sequence[str] = (),
        render_mode: str | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        workers: int = 0,
    ) -> None:
        try:
            self.autoreset_mode = AutoresetMode(autoreset_mode)
        except ValueError:
            modes = [mode.value for mode in AutoresetMode]
            raise GameError(f"autoreset_mode={autoreset_mode!r}; {nearest(str(autoreset_mode), modes)}") from None
        specs = resolve(games) if isinstance(games, str) else list(games)
        if not specs:
            raise GameError("a vector environment needs at least one game")
        if workers < 0:
            raise GameError(f"workers={workers}: expected 0 or the number of threads")
        # threads save time, because the Z-machine interpreter releases the global interpreter lock
        self._pool = ThreadPoolExecutor(workers, "game") if workers else None  # threads start with the first job
        self._make = methodcaller("make", max_turns=max_turns, infos=infos, render_mode=render_mode)
        self.envs: list[gymnasium.Env[str, str]] = []
        try:
            for spec in specs:
                self.envs.append(self._make(spec))
        except BaseException:
            self.close_extras()
            raise
        self.num_envs, self.render_mode = len(specs), render_mode
        self.metadata = {**self.envs[0].metadata, "autoreset_mode": self.autoreset_mode}
        self.single_action_space = self.envs[0].action_space
        texts: list[Any] = [env.observation_space for env in self.envs]
        characters = frozenset().union(*(space.character_set for space in texts))
        max_length = max(space.max_length for space in texts)
        self.single_observation_space = gymnasium.spaces.Text(max_length, min_length=0, charset=characters)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self._texts = [""] * self.num_envs
        self._ended = np.zeros(self.num_envs, dtype=np.bool_)
        self._failed: dict[int, str] = {}  # environments whose last reset failed -> reason
        self._closed: dict[int, str] = {}  # environments that were closed after an error -> kind of the error
        self._sequences: dict[int, np.random.SeedSequence] = {}  # source of the seeds after failures
        self._specs = specs
        self.failures = Failures(self.num_envs)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[tuple[str, ...], Info]:
        """Reset the environments that the boolean array `options["reset_mask"]` selects, by default all."""
        seeds, options = self._seeds(seed), dict(options or {})
        mask = self._mask(options.pop("reset_mask", None))
        infos: list[Info] = [{} for _ in self.envs]
        for index in np.flatnonzero(mask).tolist():
            if (env_seed := seeds[index]) is not None and env_seed >= 0:
                self._sequences[index] = np.random.SeedSequence(env_seed)
            infos[index] = self._reset_one(index, env_seed, options)
        self._ended[mask] = False
        return tuple(self._texts), stack_infos(infos)

    def step(self, actions: Sequence[str]) -> Batch:
        if isinstance(actions, str) or len(actions) != self.num_envs or not all(isinstance(a, str) for a in actions):
            raise TypeError(f"expected a sequence of {self.num_envs} commands, each a str, got {actions!r}")
        if self.autoreset_mode is AutoresetMode.DISABLED and self._ended.any():
            raise ResetNeeded(f"episodes are over and autoreset is disabled: {np.flatnonzero(self._ended).tolist()}")
        resetting = self._ended if self.autoreset_mode is AutoresetMode.NEXT_STEP else np.zeros_like(self._ended)
        futures = {}
        if self._pool is not None:
            slow_indices = [i for i, command in enumerate(actions) if not resetting[i] and self._is_slow(i, command)]
            # the calling thread plays the first slow game itself
            futures = {i: self._pool.submit(self._step_one, i, actions[i]) for i in slow_indices[1:]}
        steps: list[Step] = []
        for i, command in enumerate(actions):
            if resetting[i]:
                info = self._reset_one(i, None, {})
                steps.append((self._texts[i], 0.0, False, False, info))
            else:
                steps.append(futures[i].result() if i in futures else self._step_one(i, command))
        return self._batch(steps)

    def render(self) -> tuple[Any, ...] | None:
        return None if self.render_mode is None else tuple(env.render() for env in self.envs)

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Call the method `name` of each environment, or return the values of the attribute `name`."""
        values = self.get_attr(name)
        return tuple(value(*args, **kwargs) if callable(value) else value for value in values)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        return tuple(env.get_wrapper_attr(name) for env in self.envs)

    def close_extras(self, **kwargs: Any) -> None:
        """Close all environments, and end the threads."""
        for env in self.envs:
            env.close()
        if self._pool is not None:
            self._pool.shutdown()

    def _batch(self, steps: Sequence[Step]) -> Batch:
        texts, rewards, terminated, truncated, infos = map(list, zip(*steps, strict=True))
        self._texts = texts
        terminations, truncations = np.array(terminated, dtype=np.bool_), np.array(truncated, dtype=np.bool_)
        self._ended = terminations | truncations
        for i in np.flatnonzero(self._ended).tolist():
            if i not in self._failed:  # `_reset_one` has already recorded a failed reset
                error = infos[i]["error"] if i in self._closed else None
                self.failures.record(self._specs[i].name, error, self._closed.get(i, ""))
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            for i in np.flatnonzero(self._ended).tolist():
                infos[i] = {"final_obs": texts[i], "final_info": infos[i]} | self._reset_one(i, None, {})
        return tuple(texts), np.array(rewards, dtype=np.float64), terminations, truncations, stack_infos(infos)

    def _reset_one(self, index: int, seed: int | None, options: dict[str, Any]) -> Info:
        has_no_seed = self._failed.pop(index, None) is not None or index in self._closed
        try:
            if index in self._closed:
                self.envs[index] = self._make(self._specs[index])
                del self._closed[index]
            if has_no_seed and seed is None and index in self._sequences:
                seed = int(self._sequences[index].spawn(1)[0].generate_state(1)[0])
            self._texts[index], info = self.envs[index].reset(seed=seed, options=options)
        except FatalGameError:
            raise
        except GameError as error:
            self._texts[index], info = "", _error_info(str(error))
            self._failed[index] = str(error)
            self.failures.record(self._specs[index].name, str(error), error_kind(error), at_start=True)
        else:
            self.failures.started()
        return info

    def _step_one(self, index: int, command: str) -> Step:
        if index in self._failed:  # after a failed reset, the next step truncates the episode
            return "", 0.0, False, True, _error_info(self._failed[index])
        try:
            text, reward, terminated, truncated, info = self.envs[index].step(command)
        except FatalGameError:
            raise
        except GameError as error:
            self.envs[index].close()
            self._closed[index] = error_kind(error)
            return "", 0.0, False, True, _error_info(str(error))
        return text, float(reward), terminated, truncated, info

    def _is_slow(self, index: int, command: str) -> bool:
        needs_interpreter = getattr(self.envs[index].unwrapped, "needs_interpreter", None)
        return index not in self._failed and (needs_interpreter is None or bool(needs_interpreter(command)))

    def _seeds(self, seed: int | Sequence[int | None] | None) -> list[int | None]:
        if seed is None or isinstance(seed, int):
            return [None if seed is None else seed + i for i in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise ValueError(f"expected {self.num_envs} seeds, got {len(seed)}")
        return list(seed)

    def _mask(self, mask: Any) -> NDArray[np.bool_]:
        if mask is None:
            return np.ones(self.num_envs, dtype=np.bool_)
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (self.num_envs,):
            raise TypeError(f"reset_mask: expected an array of {self.num_envs} booleans, got {mask!r}")
        if not mask.any():
            raise ValueError("reset_mask: expected at least one true entry")
        return mask


def make_textworld_vec(num_envs: int = 1, *, game: str, **keywords: Any) -> TextVectorEnv:
    """Make the environment for `gymnasium.make_vec`. Environment i plays game `i % n` of the n games."""
    specs = resolve(game)
    if num_envs < len(specs):
        raise GameError(f"{game}: {len(specs)} games need num_envs={len(specs)} or more, got {num_envs}")
    return TextVectorEnv([specs[i % len(specs)] for i in range(num_envs)], **keywords)


def stack_infos(infos: Sequence[Info]) -> Info:
    """Stack infos in Gymnasium's format. The boolean array `_key` marks environments that have the entry `key`."""
    stacked: Info = {}
    for key in dict.fromkeys(key for info in infos for key in info):
        mask = np.fromiter((key in info for info in infos), dtype=np.bool_, count=len(infos))
        values = [info[key] for info in infos if key in info]
        types = set(map(type, values))
        if types == {dict}:
            stacked[key] = stack_infos([info.get(key, {}) for info in infos])
        else:
            number_type = next(iter(types)) if len(types) == 1 else float
            # numbers of different types become floats
            dtype = number_type if types <= {int, float} or types == {bool} else object
            array = np.full(len(infos), None, dtype=object) if dtype is object else np.zeros(len(infos), dtype=dtype)
            array[mask] = np.fromiter(values, dtype=dtype, count=len(values))
            stacked[key] = array
        stacked[f"_{key}"] = mask
    return stacked


def _error_info(message: str) -> Info:
    return {"admissible_commands": [], "error": message}
