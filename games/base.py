"""What every game of ours shares: seeding, turn limit, score, misuse, `render`. A game is its rules and two methods.

`TextGame` is a `gymnasium.Env` whose observations and actions are `str`. A subclass writes `_start` and
`_play`, and sets the limit that fits it; everything that can be wrong with a call is handled here. Drawing
is left out: whoever shows a game shows its text, which is also what `render` gives.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding

from games.errors import GameError, nearest

Info = dict[str, Any]
MAX_TURNS = 1_000_000
RENDER_MODES = (None, "ansi")


@dataclass(slots=True, kw_only=True)
class StepResult:
    """What a game answers to its start or to one command. Not frozen: that would double the cost of a step."""

    text: str
    """The observation; stripped at both ends."""
    reward: float = 0.0
    """What this command earned, game points; 0 at the start."""
    commands: tuple[str, ...] = ()
    """The admissible commands; ignored after the end."""
    won: bool = False
    lost: bool = False
    over: bool = False
    """The game itself has ended (terminated). The turn limit is not the game's affair."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further entries for `info`, which may overwrite its own; made anew for every moment."""


class TextGame(gymnasium.Env[str, str]):
    """A game in text; the conventions are in the package's docstring (`games/__init__.py`).

    `_start(options)` begins an episode, with `self.np_random` for chance. `_play(command)` answers one
    command: any `str` at all, since a wrong word is a move. A wrong type raises TypeError; a step before
    `reset` or after the end raises `gymnasium.error.ResetNeeded`.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": ["ansi"],
        "render_fps": 1,  # Gymnasium's checker asks for a number; a text game has no clock
        "prompt": "\n> ",
        "terminator": "\n",
    }
    vocabulary: tuple[str, ...] | None = None
    """All words the game's text can contain; None where they are too many to list."""
    strategies: ClassVar[tuple[str, ...]] = ()
    """What `info["strategy"]` may say about a command; empty where the game names no strategies."""
    options: ClassVar[tuple[str, ...]] = ()
    """Names that `reset(options=...)` accepts."""
    _generator: np.random.Generator | None = None

    def __init__(self, *, max_turns: int, characters: str = "", render_mode: str | None = None) -> None:
        """`max_turns` is the turn limit; `characters` are those of the game's texts beyond printable ASCII."""
        if isinstance(max_turns, bool) or not isinstance(max_turns, int):
            raise TypeError(f"max_turns: expected an int, got {max_turns!r}")
        if not 1 <= max_turns <= MAX_TURNS:
            raise GameError(f"max_turns={max_turns}: expected a whole number from 1 to {MAX_TURNS}")
        if render_mode not in RENDER_MODES:
            raise GameError(f"render_mode={render_mode!r}: expected 'ansi' or None")
        self.max_turns = max_turns
        self.render_mode = render_mode
        self.observation_space = gymnasium.spaces.Text(
            1_000_000, min_length=0, charset=frozenset(string.printable + characters)
        )
        self.action_space = gymnasium.spaces.Text(100, min_length=1, charset=frozenset(string.printable))
        self._turns = 0
        self._score = 0.0
        self._waiting = False
        self._shown: tuple[str | None, str] = (None, "")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, Info]:
        """Begin an episode; the same seed gives the same episode."""
        if type(seed) is int and seed >= 0:
            self._generator, self._np_random_seed = None, seed
        else:
            super().reset(seed=seed)
        if options:
            self._check_options(options)
        self._waiting = False
        moment = self._start(dict(options) if options else {})
        self._turns, self._score, self._waiting = 0, 0.0, True
        if self.render_mode is not None:
            self._shown = None, moment.text
        return moment.text, self._info(moment, going_on=True)

    def step(self, command: str) -> tuple[str, float, bool, bool, Info]:
        """Give one command: observation, reward of this command, terminated, truncated, info."""
        if not isinstance(command, str):
            raise TypeError(f"a command is a str, got {type(command).__name__}: {command!r}")
        if not self._waiting:
            raise ResetNeeded("no episode is running: call reset() first, and again after the end")
        moment = self._play(command)
        self._turns += 1
        self._score += moment.reward
        over = moment.over
        truncated = not over and self._turns >= self.max_turns
        self._waiting = going_on = not (over or truncated)
        if self.render_mode is not None:
            self._shown = command, moment.text
        info = self._info(moment, going_on=going_on)
        if truncated:
            info.update(self._continuation())
        return moment.text, float(moment.reward), over, truncated, info

    def render(self) -> str | None:
        """What a person would see of the last turn, the command and its answer; None without a render mode."""
        if self.render_mode is None:
            return None
        command, text = self._shown
        if command is None:
            return text
        return f"{self.metadata['prompt'].lstrip()}{command}{self.metadata['terminator']}{text}"

    def close(self) -> None:
        """End the episode; `reset` begins anew."""
        self._waiting = False

    @property
    def _np_random(self) -> np.random.Generator | None:
        """Gymnasium's generator, made of the seed when it is first asked for: seeding costs more than a reset."""
        if self._generator is None and self._np_random_seed is not None:
            self._generator = seeding.np_random(self._np_random_seed)[0]
        return self._generator

    @_np_random.setter
    def _np_random(self, value: np.random.Generator | None) -> None:
        self._generator = value

    def _check_options(self, options: Mapping[str, Any]) -> None:
        for name in options:
            if name not in self.options:
                hint = nearest(str(name), self.options) if self.options else "it takes none"
                raise GameError(f"{type(self).__name__} has no reset option {name!r}; {hint}")

    def _info(self, moment: StepResult, *, going_on: bool) -> Info:
        return {
            "admissible_commands": sorted(moment.commands) if going_on else [],
            "score": self._score,
            "won": moment.won,
            "lost": moment.lost,
            "moves": self._turns,
            **moment.extra,
        }

    def _start(self, options: dict[str, Any]) -> StepResult:
        """Begin an episode with the reset options given."""
        raise NotImplementedError

    def _play(self, command: str) -> StepResult:
        """Answer one command."""
        raise NotImplementedError

    def _continuation(self) -> Info:
        """Info that a truncated episode adds: `continuation`, where the next can go on from this one."""
        return {}
