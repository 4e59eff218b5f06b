"""Reward shaping as Gymnasium wrappers that add up: each adds its own term to the reward it gets.

`shape` applies those that are not neutral. A wrapper never overwrites another's reward, so the terms of any
stacking add; only `Scale` multiplies, and it multiplies what lies below it.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import gymnasium

from games.errors import GameError

Env = gymnasium.Env[str, str]
Step = tuple[str, float, bool, bool, dict[str, Any]]


class Bonus(gymnasium.Wrapper[str, str, str, str]):
    """Adds `self.term(command, terminated, info)` to the reward of every step."""

    def __init__(self, env: Env, amount: float) -> None:
        super().__init__(env)
        if not isinstance(amount, int | float) or not math.isfinite(amount):
            raise GameError(f"{type(self).__name__}: expected a finite number, got {amount!r}")
        self.amount = float(amount)

    def step(self, action: str) -> Step:
        text, reward, terminated, truncated, info = self.env.step(action)
        return text, float(reward) + self.term(action, terminated, info), terminated, truncated, info

    def term(self, command: str, terminated: bool, info: dict[str, Any]) -> float:
        """What this wrapper adds, in units of reward."""
        raise NotImplementedError


class WinBonus(Bonus):
    """+amount on the step that wins."""

    def term(self, command: str, terminated: bool, info: dict[str, Any]) -> float:
        return self.amount if terminated and info.get("won", False) else 0.0


class LossPenalty(Bonus):
    """-amount on the step that loses."""

    def term(self, command: str, terminated: bool, info: dict[str, Any]) -> float:
        return -self.amount if terminated and info.get("lost", False) else 0.0


class StepCost(Bonus):
    """-amount on every step."""

    def term(self, command: str, terminated: bool, info: dict[str, Any]) -> float:
        return -self.amount


class InvalidPenalty(Bonus):
    """-amount on a command that was not among the admissible commands; blanks at its ends do not count."""

    def __init__(self, env: Env, amount: float) -> None:
        super().__init__(env, amount)
        self._admissible: Collection[str] = ()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        text, info = self.env.reset(seed=seed, options=options)
        self._admissible = _stripped(info)
        return text, info

    def step(self, action: str) -> Step:
        result = super().step(action)
        self._admissible = _stripped(result[-1])
        return result

    def term(self, command: str, terminated: bool, info: dict[str, Any]) -> float:
        return 0.0 if command.strip() in self._admissible else -self.amount


class CommandBonus(Bonus):
    """+amount for every command that begins with the words of `act`: a reward that can be gamed.

    For an act that is harmless and can be repeated (`look`, `examine`). The game's own score is left as it is, so how
    far a learner goes for the bonus can be measured (`is_act`).
    """

    def __init__(self, env: Env, amount: float, act: str) -> None:
        super().__init__(env, amount)
        if not act.split():
            raise GameError("a bonus needs the command that earns it, such as 'look'; got none")
        self.act = act

    def term(self, command: str, terminated: bool, info: dict[str, Any]) -> float:
        return self.amount if is_act(command, self.act) else 0.0


class ScoreGain(Bonus):
    """+amount times the rise of `info["score"]`, for games of others whose reward is something else.

    Our own games already pay the rise of the score; around them this adds it once more.
    """

    def __init__(self, env: Env, amount: float = 1.0) -> None:
        super().__init__(env, amount)
        self._score = 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        text, info = self.env.reset(seed=seed, options=options)
        self._score = float(info.get("score", 0.0))
        return text, info

    def term(self, command: str, terminated: bool, info: dict[str, Any]) -> float:
        before, self._score = self._score, float(info.get("score", self._score))
        return self.amount * (self._score - before)


class Scale(Bonus):
    """The reward below, times amount."""

    def step(self, action: str) -> Step:
        text, reward, terminated, truncated, info = self.env.step(action)
        return text, float(reward) * self.amount, terminated, truncated, info


def shape(
    env: Env,
    *,
    win_bonus: float = 0.0,
    loss_penalty: float = 0.0,
    step_cost: float = 0.0,
    invalid_penalty: float = 0.0,
    bonus: float = 0.0,
    bonus_command: str = "",
    scale: float = 1.0,
) -> Env:
    """`env` with its reward shaped; penalties and costs are subtracted, `scale` multiplies the sum.

    reward = scale * (reward + win_bonus [won] - loss_penalty [lost] - step_cost - invalid_penalty [invalid]
                      + bonus [the command begins with bonus_command])
    """
    terms = ((WinBonus, win_bonus), (LossPenalty, loss_penalty), (StepCost, step_cost))
    for wrapper, amount in (*terms, (InvalidPenalty, invalid_penalty)):
        if amount != 0.0:
            env = wrapper(env, amount)
    if bonus != 0.0:
        env = CommandBonus(env, bonus, bonus_command)
    return env if scale == 1.0 else Scale(env, scale)


def is_act(command: str, act: str) -> bool:
    """Does a command begin with the words of `act`? `examine` is in `examine old key`, not in `examined`."""
    words = act.split()
    return bool(words) and command.split()[: len(words)] == words


def _stripped(info: dict[str, Any]) -> frozenset[str]:
    return frozenset(command.strip() for command in info.get("admissible_commands", ()))
