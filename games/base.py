"""What every game of ours shares: seeding, turn limit, score, misuse. A game is its rules and two methods.

`TextGame` is a `gymnasium.Env` whose observations and actions are `str`. A subclass writes `_start` and
`_play`, and sets the limit that fits it; everything that can be wrong with a call is handled here. Drawing
is left out: whoever shows a game shows its text.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import gymnasium
from gymnasium.error import ResetNeeded

from games.errors import GameError, nearest

Info = dict[str, Any]
MAX_TURNS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What a game answers to its start or to one command."""

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
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further entries for `info`, made anew for every moment."""


class TextGame(gymnasium.Env[str, str]):
    """A game in text; the conventions are in the package's docstring (`games/__init__.py`).

    `_start(options)` begins an episode, with `self.np_random` for chance. `_play(command)` answers one
    command: any `str` at all, since a wrong word is a move. A wrong type raises TypeError; a step before
    `reset` or after the end raises `gymnasium.error.ResetNeeded`.
    """

    metadata: dict[str, Any] = {"render_modes": [], "prompt": "\n> ", "terminator": "\n"}  # noqa: RUF012
    vocabulary: tuple[str, ...] | None = None
    """All words the game's text can contain; None where they are too many to list."""
    strategies: ClassVar[tuple[str, ...]] = ()
    """What `info["strategy"]` may say about a command; empty where the game names no strategies."""
    options: ClassVar[tuple[str, ...]] = ()
    """Names that `reset(options=...)` accepts."""

    def __init__(self, *, max_turns: int, characters: str = "") -> None:
        """`max_turns` is the turn limit; `characters` are those of the game's texts beyond printable ASCII."""
        if isinstance(max_turns, bool) or not isinstance(max_turns, int):
            raise TypeError(f"max_turns: expected an int, got {max_turns!r}")
        if not 1 <= max_turns <= MAX_TURNS:
            raise GameError(f"max_turns={max_turns}: expected a whole number from 1 to {MAX_TURNS}")
        self.max_turns = max_turns
        self.observation_space = gymnasium.spaces.Text(
            1_000_000, min_length=0, charset=frozenset(string.printable + characters)
        )
        self.action_space = gymnasium.spaces.Text(100, min_length=1, charset=frozenset(string.printable))
        self._turns = 0
        self._score = 0.0
        self._waiting = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, Info]:
        """Begin an episode; the same seed gives the same episode."""
        super().reset(seed=seed)
        for name in options or {}:
            if name not in self.options:
                hint = nearest(str(name), self.options) if self.options else "it takes none"
                raise GameError(f"{type(self).__name__} has no reset option {name!r}; {hint}")
        self._waiting = False
        moment = self._start(dict(options or {}))
        self._turns, self._score, self._waiting = 0, 0.0, True
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
        truncated = not moment.over and self._turns >= self.max_turns
        self._waiting = not (moment.over or truncated)
        info = self._info(moment, going_on=self._waiting)
        if truncated:
            info.update(self._continuation())
        return moment.text, float(moment.reward), moment.over, truncated, info

    def close(self) -> None:
        """End the episode; `reset` begins anew."""
        self._waiting = False

    def _info(self, moment: Moment, *, going_on: bool) -> Info:
        commands = sorted(moment.commands) if going_on else []
        facts = {"score": self._score, "won": moment.won, "lost": moment.lost, "moves": self._turns}
        return {"admissible_commands": commands, **facts, **moment.extra}

    def _start(self, options: dict[str, Any]) -> Moment:
        """Begin an episode with the reset options given."""
        raise NotImplementedError

    def _play(self, command: str) -> Moment:
        """Answer one command."""
        raise NotImplementedError

    def _continuation(self) -> Info:
        """Info that a truncated episode adds: `continuation`, where the next can go on from this one."""
        return {}
