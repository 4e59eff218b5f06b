"""The base class of our games. It implements seeding, the turn limit, the score, input checks and `render`.

A subclass implements its rules in two methods, `_start` and `_play`.
"""

from __future__ import annotations

import string
from dataclasses import dataclass, field
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding

from games.errors import GameError, nearest
from games.parameters import Parameter

Info = dict[str, Any]
Step = tuple[str, float, bool, bool, Info]
"""The result of `step`: (observation, reward, terminated, truncated, info)."""
MAX_TURNS = 1_000_000


@dataclass(slots=True, kw_only=True)
class StepResult:
    """What a game returns at its start and after each command.

    The class is not frozen, because freezing it would double the cost of a step.
    """

    text: str
    """The observation, stripped at both ends."""
    reward: float = 0.0
    """The change in score that this command causes, in game points. It is 0 at the start."""
    commands: tuple[str, ...] = ()
    """The admissible commands. They are ignored after the end of the game."""
    won: bool = False
    lost: bool = False
    terminated: bool = False
    """Whether the game has ended by its own rules. The turn limit does not count, because `TextGame` applies it."""
    info: Info = field(default_factory=dict)
    """Further entries of `info`. They replace entries of the same name that `TextGame` sets."""


class TextGame(gymnasium.Env[str, str]):
    """A text game that follows the rules in the docstring of the package `games`.

    `_start(options)` begins an episode and draws its random numbers from `self.np_random`. `_play(command)` plays one
    command, which may be any `str`. A command of another type raises TypeError. A step before `reset` or after the end
    raises `gymnasium.error.ResetNeeded`.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": ["ansi"],
        "render_fps": 1,  # Gymnasium's checker requires a number
        "prompt": "\n> ",
        "terminator": "\n",
    }
    parameters: ClassVar[tuple[Parameter, ...]] = ()
    """The constructor arguments that a GAME string can set (see `games.specs`)."""
    vocabulary: tuple[str, ...] | None = None
    """All words of the game's texts, or None if there are too many to list."""
    strategies: ClassVar[tuple[str, ...]] = ()
    """The possible values of `info["strategy"]`. The tuple is empty if the game reports no strategies."""
    reset_options: ClassVar[tuple[str, ...]] = ()
    """The keys that `reset(options=...)` accepts."""
    _generator: np.random.Generator | None = None

    def __init__(self, *, max_turns: int, characters: str = "", render_mode: str | None = None) -> None:
        """Create the game.

        Args:
            max_turns: the turn limit.
            characters: the characters that the observation space allows in addition to printable ASCII.
        """
        if isinstance(max_turns, bool) or not isinstance(max_turns, int):
            raise TypeError(f"max_turns: expected an int, got {max_turns!r}")
        if not 1 <= max_turns <= MAX_TURNS:
            raise GameError(f"max_turns={max_turns}: expected a whole number from 1 to {MAX_TURNS}")
        if render_mode not in (None, "ansi"):
            raise GameError(f"render_mode={render_mode!r}: expected 'ansi' or None")
        self.max_turns = max_turns
        self.render_mode = render_mode
        self.observation_space = gymnasium.spaces.Text(
            1_000_000, min_length=0, charset=frozenset(string.printable + characters)
        )
        self.action_space = gymnasium.spaces.Text(100, min_length=1, charset=frozenset(string.printable))
        self._turns = 0
        self._score = 0.0
        self._running = False
        self._rendered = ""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, Info]:
        """Begin an episode and return its first observation and info. The same seed gives the same episode."""
        if type(seed) is int and seed >= 0:
            self._generator, self._np_random_seed = None, seed
        else:
            super().reset(seed=seed)
        options = dict(options) if options else {}
        for name in options:
            if name not in self.reset_options:
                hint = nearest(str(name), self.reset_options) if self.reset_options else "it takes none"
                raise GameError(f"{type(self).__name__} has no reset option {name!r}; {hint}")
        self._running = False
        result = self._start(options)
        self._turns, self._score, self._running = 0, 0.0, True
        self._rendered = result.text
        return result.text, self._info(result)

    def step(self, command: str) -> Step:
        """Play one command and return (observation, reward, terminated, truncated, info)."""
        if not isinstance(command, str):
            raise TypeError(f"a command is a str, got {type(command).__name__}: {command!r}")
        if not self._running:
            raise ResetNeeded("no episode is running: call reset() first, and again after the end")
        result = self._play(command)
        self._turns += 1
        self._score += result.reward
        terminated = result.terminated
        truncated = not terminated and self._turns >= self.max_turns
        self._running = not (terminated or truncated)
        if self.render_mode is not None:
            prompt, terminator = self.metadata["prompt"].lstrip(), self.metadata["terminator"]
            self._rendered = f"{prompt}{command}{terminator}{result.text}"
        info = self._info(result)
        if truncated:
            info.update(self._continuation())
        return result.text, float(result.reward), terminated, truncated, info

    def render(self) -> str | None:
        """Return the last command and its observation as text, or None if there is no render mode."""
        return None if self.render_mode is None else self._rendered

    def close(self) -> None:
        """End the episode. A later `reset` begins a new one."""
        self._running = False

    @property
    def _np_random(self) -> np.random.Generator | None:
        """Gymnasium's random generator. It is created on first use, because creating it costs more than a reset."""
        if self._generator is None and self._np_random_seed is not None:
            self._generator = seeding.np_random(self._np_random_seed)[0]
        return self._generator

    @_np_random.setter
    def _np_random(self, value: np.random.Generator | None) -> None:
        self._generator = value

    def _info(self, result: StepResult) -> Info:
        return {
            "admissible_commands": sorted(result.commands) if self._running else [],
            "score": self._score,
            "won": result.won,
            "lost": result.lost,
            "moves": self._turns,
            **result.info,
        }

    def _start(self, options: dict[str, Any]) -> StepResult:
        """Begin an episode with the given reset options and return its first observation as a StepResult."""
        raise NotImplementedError

    def _play(self, command: str) -> StepResult:
        """Play one command and return its result."""
        raise NotImplementedError

    def _continuation(self) -> Info:
        """Return further entries of `info` for a truncated episode.

        The entry `continuation` holds the reset options that continue the episode. By default, there are no entries.
        """
        return {}
