"""Reward shaping: terms add up, and neutral settings change nothing."""

from __future__ import annotations

import itertools
import math
from typing import Any

import gymnasium
import pytest

import games


class Road(gymnasium.Env[str, str]):
    """Three steps: `go` earns 1, the third wins; `fall` loses; anything else is not understood."""

    observation_space = gymnasium.spaces.Text(10, min_length=0)
    action_space = gymnasium.spaces.Text(10)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.score = 0
        return "", self.info(False, False)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        gain = int(action == "go")
        self.score += gain
        won, lost = self.score == 3, action == "fall"
        return "", float(gain), won or lost, False, self.info(won, lost)

    def info(self, won: bool, lost: bool) -> dict[str, Any]:
        commands = [] if won or lost else ["fall", "go"]
        return {"admissible_commands": commands, "score": self.score, "won": won, "lost": lost}


TERMS: dict[str, dict[str, Any]] = {
    "win": {"win_bonus": 5.0},
    "loss": {"loss_penalty": 7.0},
    "cost": {"step_cost": 0.25},
    "invalid": {"invalid_penalty": 0.5},
    "bonus": {"bonus": 3.0, "bonus_command": "dance"},
}
EPISODES = [["go", "go", "go"], ["go", "dance", "fall"], [" go ", "", "dance slowly"]]


def rewards(env: gymnasium.Env[str, str], commands: list[str]) -> list[float]:
    env.reset()
    return [float(env.step(command)[1]) for command in commands]


@pytest.mark.parametrize("commands", EPISODES)
def test_terms_add_up_in_one_wrapper_and_in_stacked_wrappers_of_any_order(commands: list[str]) -> None:
    plain = rewards(Road(), commands)
    single = [rewards(games.shape(Road(), **term), commands) for term in TERMS.values()]
    expected = [base + sum(shaped[t] - base for shaped in single) for t, base in enumerate(plain)]
    together = {name: amount for term in TERMS.values() for name, amount in term.items()}
    assert rewards(games.shape(Road(), **together), commands) == pytest.approx(expected)
    for order in itertools.permutations(TERMS.values()):
        env: gymnasium.Env[str, str] = Road()
        for term in order:
            env = games.shape(env, **term)
        assert rewards(env, commands) == pytest.approx(expected)


def test_shaped_rewards_computed_by_hand() -> None:
    env = games.shape(Road(), win_bonus=5, loss_penalty=7, step_cost=0.25, invalid_penalty=0.5, scale=2)
    assert rewards(env, ["go", "dance", "go", "go"]) == [1.5, -1.5, 1.5, 11.5]
    assert rewards(env, ["go", "fall"]) == [1.5, -14.5]


def test_bonus_matches_whole_words_and_leaves_the_score_alone() -> None:
    env = games.shape(Road(), bonus=0.5, bonus_command="look at", step_cost=0.25)
    assert rewards(env, ["look at sky", "look", "look atlas", "go"]) == [0.25, -0.25, -0.25, 0.75]
    assert env.step("look at sky")[4]["score"] == 1
    with pytest.raises(games.GameError, match="needs the command that earns it"):
        games.shape(Road(), bonus=0.5)


def test_wrapper_stacked_twice_counts_twice() -> None:
    assert rewards(games.shape(games.shape(Road(), step_cost=1), step_cost=2), ["go"]) == [-2.0]
    assert rewards(games.shape(games.shape(Road(), scale=3), scale=2), ["go"]) == [6.0]


def test_neutral_shaping_returns_the_same_environment() -> None:
    env = Road()
    assert games.shape(env) is env


@pytest.mark.parametrize("amount", [math.nan, math.inf, "1"])
def test_amount_that_is_not_finite_raises(amount: Any) -> None:
    with pytest.raises(games.GameError, match="finite number"):
        games.shape(Road(), step_cost=amount)


def test_shaping_leaves_score_and_commands_alone() -> None:
    env = games.shape(games.resolve("bandit")[0].make(), step_cost=1, scale=10)
    env.reset()
    _, reward, _, _, info = env.step(" wedding")
    assert (reward, info["score"]) == (0.0, 1.0)
