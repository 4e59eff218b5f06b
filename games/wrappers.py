"""Gymnasium wrappers that shape the reward. Each wrapper except `Scale` adds a term to the reward.

The terms of stacked wrappers add up. `Scale` multiplies the whole reward of the environment that it wraps.
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium

from games.base import Info, Step
from games.errors import GameError

Env = gymnasium.Env[str, str]


class Bonus(gymnasium.Wrapper[str, str, str, str]):
    """Adds `self.term(...)` to the reward of every step."""

    def __init__(self, env: Env, amount: float) -> None:
        super().__init__(env)
        if not isinstance(amount, int | float) or not math.isfinite(amount):
            raise GameError(f"{type(self).__name__}: expected a finite number, got {amount!r}")
        self.amount = float(amount)
        self._last_info: Info = {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, Info]:
        text, self._last_info = self.env.reset(seed=seed, options=options)
        return text, self._last_info

    def step(self, action: str) -> Step:
        before = self._last_info
        text, reward, terminated, truncated, self._last_info = self.env.step(action)
        term = self.term(action, terminated, before, self._last_info)
        return text, float(reward) + term, terminated, truncated, self._last_info

    def term(self, command: str, terminated: bool, before: Info, info: Info) -> float:
        """Return the term for one step, in units of reward. `before` is the info before the command."""
        raise NotImplementedError


class WinBonus(Bonus):
    """Adds `amount` to the reward of the step that wins."""

    def term(self, command: str, terminated: bool, before: Info, info: Info) -> float:
        return self.amount if terminated and info.get("won", False) else 0.0


class LossPenalty(Bonus):
    """Subtracts `amount` from the reward of the step that loses."""

    def term(self, command: str, terminated: bool, before: Info, info: Info) -> float:
        return -self.amount if terminated and info.get("lost", False) else 0.0


class StepCost(Bonus):
    """Subtracts `amount` from the reward of every step."""

    def term(self, command: str, terminated: bool, before: Info, info: Info) -> float:
        return -self.amount


class InvalidPenalty(Bonus):
    """Subtracts `amount` from the reward of an inadmissible command. Blanks at the ends of a command are ignored.

    A game without admissible commands accepts any text, so no command of it is inadmissible.
    """

    def term(self, command: str, terminated: bool, before: Info, info: Info) -> float:
        admissible = {known.strip() for known in before.get("admissible_commands", ())}
        return 0.0 if not admissible or command.strip() in admissible else -self.amount


class CommandBonus(Bonus):
    """Adds `amount` to the reward of each command that begins with the words of `act`. An agent can exploit this bonus.

    Choose an `act` that is harmless and repeatable, such as `look` or `examine`. The game's own score does not change.
    Use `starts_with_words` to measure the share of turns that a learner spends on the bonus.
    """

    def __init__(self, env: Env, amount: float, act: str) -> None:
        super().__init__(env, amount)
        if not act.split():
            raise GameError("a bonus needs the command that earns it, such as 'look'; got none")
        self.act = act

    def term(self, command: str, terminated: bool, before: Info, info: Info) -> float:
        return self.amount if starts_with_words(command, self.act) else 0.0


class ScoreGain(Bonus):
    """Adds `amount` times the change in `info["score"]`, for third-party games that reward something else.

    Our own games already reward the change in score, so this wrapper would reward the same change twice.
    """

    def term(self, command: str, terminated: bool, before: Info, info: Info) -> float:
        score = float(before.get("score", 0.0))
        return self.amount * (float(info.get("score", score)) - score)


class Scale(Bonus):
    """Multiplies the reward of the wrapped environment by `amount`."""

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
    """Return `env` with a shaped reward. Wrappers that would not change the reward are omitted.

    The shaped reward is the sum below. A term counts only in steps that meet the condition in brackets, where `invalid`
    means that the command is inadmissible.

    scale * (reward + win_bonus [won] - loss_penalty [lost] - step_cost - invalid_penalty [invalid]
             + bonus [the command begins with bonus_command])
    """
    terms = ((WinBonus, win_bonus), (LossPenalty, loss_penalty), (StepCost, step_cost))
    for wrapper, amount in (*terms, (InvalidPenalty, invalid_penalty)):
        if amount != 0.0:
            env = wrapper(env, amount)
    if bonus != 0.0:
        env = CommandBonus(env, bonus, bonus_command)
    return env if scale == 1.0 else Scale(env, scale)


def starts_with_words(command: str, act: str) -> bool:
    """Return whether `command` begins with the words of `act`.

    For example, `examine key` begins with the words of `examine`, but `examined` does not.
    """
    words = act.split()
    return bool(words) and command.split()[: len(words)] == words
