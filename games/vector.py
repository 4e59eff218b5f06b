"""Many text games stepped together, by Gymnasium's vector conventions: tuples of texts, arrays, infos with masks.

What Gymnasium's own `SyncVectorEnv` answers, for games that may differ, with two things more: a game that fails
ends its own episode and no other's, and steps that run an interpreter may run on threads, since the Z-machine
releases Python's lock. Processes are left out: `gymnasium.vector.AsyncVectorEnv` takes our games as they are, with
`shared_memory=False` (Gymnasium up to 1.4 reads a text out of shared memory once, before the first reset).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from games.errors import GameError, nearest
from games.specs import GameSpec, resolve

Info = dict[str, Any]
Env = gymnasium.Env[str, str]
Turn = tuple[str, float, bool, bool, Info]
Batch = tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], Info]


class TextVectorEnv(VectorEnv[tuple[str, ...], Sequence[str], NDArray[Any]]):
    """One environment for each of `games`: GameSpecs, or a GAME string that names them.

    `reset(seed=7)` gives the seeds 7, 8, 9, ... as Gymnasium's own do. `autoreset_mode` is Gymnasium's: `NextStep`
    (the step after an end resets, its command and reward do not count), `SameStep` (`final_obs` and `final_info`
    hold the end) or `Disabled` (`reset(options={"reset_mask": mask})`).

    A GameError in a step truncates that episode, with the observation "" and the reason in `infos["error"]`; a
    GameError in a reset says so in the same way, and the next step is truncated.

    `workers` is the number of threads, 0 for none. A step goes to a thread where the game's
    `needs_interpreter(command)` says that it is worth one; a game without that method always is.
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
        self.autoreset_mode = _mode(autoreset_mode)
        specs = resolve(games) if isinstance(games, str) else list(games)
        if not specs:
            raise GameError("a vector environment needs at least one game")
        if workers < 0:
            raise GameError(f"workers={workers}: expected 0 or the number of threads")
        self.envs: list[Env] = []
        try:
            for spec in specs:
                self.envs.append(spec.make(max_turns=max_turns, infos=infos, render_mode=render_mode))
        except BaseException:
            self.close_extras()
            raise
        self.num_envs, self.render_mode = len(specs), render_mode
        self.metadata = {**self.envs[0].metadata, "autoreset_mode": self.autoreset_mode}
        self.single_action_space = self.envs[0].action_space
        self.single_observation_space = _common([env.observation_space for env in self.envs])
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self._texts = [""] * self.num_envs
        self._over = np.zeros(self.num_envs, dtype=np.bool_)
        self._failed: dict[int, str] = {}
        self._pool = ThreadPoolExecutor(workers, "game") if workers else None

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[tuple[str, ...], Info]:
        """Begin an episode everywhere, or where `options["reset_mask"]` is true."""
        seeds = self._seeds(seed)
        rest = dict(options or {})
        mask = self._mask(rest.pop("reset_mask", None))
        infos: list[Info] = [{} for _ in self.envs]
        for index in np.flatnonzero(mask).tolist():
            infos[index] = self._reset_one(index, seeds[index], rest)
        self._over[mask] = False
        return tuple(self._texts), gather(infos)

    def step(self, actions: Sequence[str]) -> Batch:
        """One command for each environment."""
        if isinstance(actions, str) or len(actions) != self.num_envs or not all(isinstance(a, str) for a in actions):
            raise TypeError(f"expected a sequence of {self.num_envs} commands, each a str, got {actions!r}")
        if self.autoreset_mode is AutoresetMode.DISABLED and self._over.any():
            raise ResetNeeded(f"episodes are over and autoreset is disabled: {np.flatnonzero(self._over).tolist()}")
        resetting = self._over if self.autoreset_mode is AutoresetMode.NEXT_STEP else np.zeros_like(self._over)
        waiting = {i: self._submit(i, actions[i]) for i in self._threaded(actions, resetting)}
        turns: list[Turn] = []
        for i, command in enumerate(actions):
            if resetting[i]:
                info = self._reset_one(i, None, {})
                turns.append((self._texts[i], 0.0, False, False, info))
            else:
                turns.append(waiting[i].result() if i in waiting else self._step_one(i, command))
        return self._batch(turns)

    def render(self) -> tuple[Any, ...] | None:
        """What each environment shows; None without a render mode."""
        return None if self.render_mode is None else tuple(env.render() for env in self.envs)

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """A method of each environment, called, or its attribute."""
        found = [env.get_wrapper_attr(name) for env in self.envs]
        return tuple(each(*args, **kwargs) if callable(each) else each for each in found)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """An attribute of each environment."""
        return tuple(env.get_wrapper_attr(name) for env in self.envs)

    def close_extras(self, **kwargs: Any) -> None:
        """Close all environments and threads; Gymnasium calls it from `close`."""
        for env in self.envs:
            env.close()
        pool = getattr(self, "_pool", None)
        if pool is not None:
            pool.shutdown()

    def _batch(self, turns: list[Turn]) -> Batch:
        self._texts = [turn[0] for turn in turns]
        rewards = np.array([turn[1] for turn in turns], dtype=np.float64)
        terminated = np.array([turn[2] for turn in turns], dtype=np.bool_)
        truncated = np.array([turn[3] for turn in turns], dtype=np.bool_)
        infos = [turn[4] for turn in turns]
        self._over = terminated | truncated
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            for i in np.flatnonzero(self._over).tolist():
                final = {"final_obs": self._texts[i], "final_info": infos[i]}
                infos[i] = {**final, **self._reset_one(i, None, {})}
        return tuple(self._texts), rewards, terminated, truncated, gather(infos)

    def _reset_one(self, index: int, seed: int | None, options: dict[str, Any]) -> Info:
        self._failed.pop(index, None)
        try:
            self._texts[index], info = self.envs[index].reset(seed=seed, options=options)
        except GameError as error:
            self._failed[index] = str(error)
            self._texts[index], info = "", _error(str(error))
        return info

    def _step_one(self, index: int, command: str) -> Turn:
        if index in self._failed:
            return "", 0.0, False, True, _error(self._failed[index])
        try:
            text, reward, terminated, truncated, info = self.envs[index].step(command)
        except GameError as error:
            self.envs[index].close()  # `reset` begins anew
            return "", 0.0, False, True, _error(str(error))
        return text, float(reward), terminated, truncated, info

    def _threaded(self, actions: Sequence[str], resetting: NDArray[np.bool_]) -> list[int]:
        """Who steps on a thread: all that need an interpreter but the first, which this thread plays itself."""
        if self._pool is None:
            return []
        return [i for i in range(self.num_envs) if not resetting[i] and self._slow(i, actions[i])][1:]

    def _slow(self, index: int, command: str) -> bool:
        ask = getattr(self.envs[index].unwrapped, "needs_interpreter", None)
        return index not in self._failed and (ask is None or bool(ask(command)))

    def _submit(self, index: int, command: str) -> Future[Turn]:
        assert self._pool is not None
        return self._pool.submit(self._step_one, index, command)

    def _seeds(self, seed: int | Sequence[int | None] | None) -> list[int | None]:
        if seed is None:
            return [None] * self.num_envs
        seeds: list[int | None] = [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else list(seed)
        if len(seeds) != self.num_envs:
            raise ValueError(f"expected {self.num_envs} seeds, got {len(seeds)}")
        return seeds

    def _mask(self, mask: Any) -> NDArray[np.bool_]:
        if mask is None:
            return np.ones(self.num_envs, dtype=np.bool_)
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (self.num_envs,):
            raise TypeError(f"reset_mask: expected an array of {self.num_envs} booleans, got {mask!r}")
        if not mask.any():
            raise ValueError("reset_mask: expected at least one true entry")
        return mask


def textworld(num_envs: int = 1, *, game: str, **keywords: Any) -> TextVectorEnv:
    """What `gymnasium.make_vec("games:actde/TextWorld-v0", num_envs=..., game=...)` calls.

    Several games are dealt in turn: environment i plays game i modulo their number.
    """
    specs = resolve(game)
    if num_envs < len(specs):
        raise GameError(f"{game}: {len(specs)} games need num_envs={len(specs)} or more, got {num_envs}")
    return TextVectorEnv([specs[i % len(specs)] for i in range(num_envs)], **keywords)


def gather(infos: Sequence[Info]) -> Info:
    """One info of arrays out of one info for each environment, with a mask `_key` of who has the entry.

    As `gymnasium.vector.VectorEnv` does it, at once for all environments; numbers of several types become floats.
    """
    gathered: Info = {}
    for key in dict.fromkeys(key for info in infos for key in info):
        mask = np.fromiter((key in info for info in infos), dtype=np.bool_, count=len(infos))
        held = [info[key] for info in infos if key in info]
        kinds = set(map(type, held))
        if kinds == {dict}:
            gathered[key] = gather([info.get(key, {}) for info in infos])
        else:
            number = next(iter(kinds)) if len(kinds) == 1 else float
            kind = number if kinds <= {int, float} or kinds == {bool} else object
            array = np.full(len(infos), None, dtype=object) if kind is object else np.zeros(len(infos), dtype=kind)
            array[mask] = np.fromiter(held, dtype=kind, count=len(held))
            gathered[key] = array
        gathered[f"_{key}"] = mask
    return gathered


def _error(message: str) -> Info:
    return {"admissible_commands": [], "error": message}


def _mode(mode: str | AutoresetMode) -> AutoresetMode:
    try:
        return AutoresetMode(mode)
    except ValueError:
        known = [each.value for each in AutoresetMode]
        raise GameError(f"autoreset_mode={mode!r}; {nearest(str(mode), known)}") from None


def _common(spaces: Sequence[Any]) -> gymnasium.spaces.Text:
    """The texts of all `spaces`."""
    longest = max(space.max_length for space in spaces)
    return gymnasium.spaces.Text(longest, min_length=0, charset=frozenset().union(*(s.character_set for s in spaces)))
