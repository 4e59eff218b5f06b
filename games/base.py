"""The base class of our games."""

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
Step = tuple[str, float, bool, bool, Info]  # observation, reward, terminated, truncated, info
MAX_TURNS = 1_000_000
NOT_RUNNING = "no episode is running: call reset() first, and again after the end"


@dataclass(slots=True, kw_only=True)
class StepResult:
    """The result of starting a game, or of playing one command.

    Attributes:
        reward: the change in score.
        commands: the admissible commands.
        terminated: whether the game has ended by its own rules.
        info: further entries of the `info` dict.
    """

    # The class is not frozen, because freezing it would double the cost of a step.
    text: str
    reward: float = 0.0
    commands: tuple[str, ...] = ()
    won: bool = False
    lost: bool = False
    terminated: bool = False
    info: Info = field(default_factory=dict)


class TextGame(gymnasium.Env[str, str]):
    """The base class of text games. A subclass implements `_start` and `_play`.

    Args:
        characters: characters besides printable ASCII that observations may contain.

    Attributes:
        parameters: constructor arguments that a GAME string such as `bandit?case=pizza` can set.
        vocabulary: all words in the game's texts, or None if unknown.
        strategies: possible values of `info["strategy"]`.
        reset_options: keys that `reset(options=...)` accepts.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": ["ansi"],
        "render_fps": 1,  # Gymnasium's checker requires a number
        "prompt": "\n> ",
        "terminator": "\n",
    }
    parameters: ClassVar[tuple[Parameter, ...]] = ()
    vocabulary: tuple[str, ...] | None = None
    strategies: ClassVar[tuple[str, ...]] = ()
    reset_options: ClassVar[tuple[str, ...]] = ()
    _generator: np.random.Generator | None = None

    def __init__(self, *, max_turns: int, characters: str = "", render_mode: str | None = None) -> None:
        if isinstance(max_turns, bool) or not isinstance(max_turns, int):
            raise TypeError(f"max_turns: expected an int, got {max_turns!r}")
        if not 1 <= max_turns <= MAX_TURNS:
            raise GameError(f"max_turns={max_turns}: expected a whole number from 1 to {MAX_TURNS}")
        if render_mode not in (None, "ansi"):
            raise GameError(f"render_mode={render_mode!r}: expected 'ansi' or None")
        self.max_turns, self.render_mode = max_turns, render_mode
        charset = frozenset(string.printable + characters)
        self.observation_space = gymnasium.spaces.Text(1_000_000, min_length=0, charset=charset)
        self.action_space = gymnasium.spaces.Text(100, min_length=1, charset=frozenset(string.printable))
        self._turns, self._score, self._running, self._rendered = 0, 0.0, False, ""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, Info]:
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
        self._turns, self._score, self._running, self._rendered = 0, 0.0, True, result.text
        return result.text, self._info(result)

    def step(self, command: str) -> Step:
        """Play one command. Raise `gymnasium.error.ResetNeeded` if no episode is running."""
        if not isinstance(command, str):
            raise TypeError(f"a command is a str, got {type(command).__name__}: {command!r}")
        if not self._running:
            raise ResetNeeded(NOT_RUNNING)
        result = self._play(command)
        self._turns += 1
        self._score += result.reward
        truncated = not result.terminated and self._turns >= self.max_turns
        self._running = not (result.terminated or truncated)
        if self.render_mode is not None:
            prompt, terminator = self.metadata["prompt"].lstrip(), self.metadata["terminator"]
            self._rendered = f"{prompt}{command}{terminator}{result.text}"
        info = self._info(result)
        if truncated:
            info.update(self._continuation())
        return result.text, float(result.reward), result.terminated, truncated, info

    def render(self) -> str | None:
        """Return the last command and observation as text. If `render_mode` is None, return None."""
        return None if self.render_mode is None else self._rendered

    def close(self) -> None:
        """End the episode. A later `reset` begins a new episode."""
        self._running = False

    @property
    def _np_random(self) -> np.random.Generator | None:
        # created on first use, because creating a generator costs more than a reset
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
        """Begin an episode with the reset options `options`. Random numbers must come from `self.np_random`."""
        raise NotImplementedError

    def _play(self, command: str) -> StepResult:
        """Play one command."""
        raise NotImplementedError

    def _continuation(self) -> Info:
        """Return `{"continuation": options}` if `reset(options=options)` can continue a truncated game, else {}."""
        return {}
