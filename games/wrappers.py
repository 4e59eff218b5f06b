"""Reward shaping for text games."""

import math
from typing import Any

import gymnasium

from games.base import Info, Step
from games.errors import GameError

Env = gymnasium.Env[str, str]


class ShapedReward(gymnasium.Wrapper[str, str, str, str]):
    """Adds reward terms, which `shape` defines. The score in `info` is unchanged."""

    def __init__(self, env: Env, *, bonus_command: str, scale: float, **terms: float) -> None:
        super().__init__(env)
        for name, amount in {**terms, "scale": scale}.items():
            if not isinstance(amount, int | float) or not math.isfinite(amount):
                raise GameError(f"{name}: expected a finite number, got {amount!r}")
        if terms["bonus"] and not bonus_command.split():
            raise GameError("a bonus needs the command that earns it, such as 'look'; got none")
        self._terms, self._bonus_command, self._scale = terms, bonus_command, scale
        self._last_info: Info = {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, Info]:
        text, self._last_info = self.env.reset(seed=seed, options=options)
        return text, self._last_info

    def step(self, action: str) -> Step:
        text, reward, terminated, truncated, info = self.env.step(action)
        previous_info, self._last_info, terms = self._last_info, info, self._terms
        reward = float(reward)
        if terminated and info.get("won", False):
            reward += terms["win_bonus"]
        if terminated and info.get("lost", False):
            reward -= terms["loss_penalty"]
        reward -= terms["step_cost"]
        if terms["invalid_penalty"]:
            admissible = {command.strip() for command in previous_info.get("admissible_commands", ())}
            reward -= terms["invalid_penalty"] if admissible and action.strip() not in admissible else 0.0
        if starts_with_words(action, self._bonus_command):
            reward += terms["bonus"]
        return text, reward * self._scale, terminated, truncated, info


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
    """Return `env` with a shaped reward.

    Args:
        win_bonus: added to the reward of the step that wins the game.
        loss_penalty: subtracted from the reward of the step that loses the game.
        step_cost: subtracted in every step.
        invalid_penalty: subtracted for an inadmissible command. Ignored if the game lists no admissible commands.
        bonus: added if the command begins with the words of `bonus_command`.
        scale: factor by which the shaped reward is multiplied.
    """
    # an agent can exploit `bonus`, so `bonus_command` must be harmless and repeatable, such as `look`
    terms = {"win_bonus": win_bonus, "loss_penalty": loss_penalty, "step_cost": step_cost}
    terms |= {"invalid_penalty": invalid_penalty, "bonus": bonus}
    if scale == 1.0 and not any(terms.values()):
        return env
    return ShapedReward(env, bonus_command=bonus_command, scale=scale, **terms)


def starts_with_words(command: str, prefix: str) -> bool:
    """Return whether `command` begins with the words of `prefix`."""
    words = prefix.split()
    return bool(words) and command.split()[: len(words)] == words
