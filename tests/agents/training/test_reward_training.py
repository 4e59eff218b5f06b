"""Reward models learn preferences, and report their accuracy on preferences that they did not see."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.stats import beta

from agents.config import ModelConfig
from agents.protocol import AgentError
from agents.text.preferences import Preference
from agents.training.reward_model import RewardModel
from agents.training.reward_training import (
    Accuracy,
    RewardTraining,
    bradley_terry_loss,
    paired_rewards,
    split_by_prompt,
    train_reward_model,
)
from tests.helpers.preferences import save_trunk, separable


@pytest.fixture(scope="module")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_trunk(tmp_path_factory.mktemp("trunk")))


def train(trunk: str, *, lora: int = 2, seed: int = 0, epochs: int = 12, held_out: float = 0.2) -> RewardTraining:
    config = ModelConfig(trunk=trunk, lora=lora)
    return train_reward_model(
        separable(60), config, epochs=epochs, lr=1e-2, head_lr=1e-2, batch=8, held_out=held_out, seed=seed
    )


def test_the_loss_by_hand() -> None:
    loss = bradley_terry_loss(torch.tensor([0.0, 2.0, -1.0]), torch.tensor([0.0, 1.0, 1.0]))
    expected = [math.log(2), math.log(1 + math.exp(-1)), math.log(1 + math.exp(2))]
    assert loss.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("lora", [2, 0])
def test_accuracy_on_separable_preferences_rises_to_one(trunk: str, lora: int) -> None:
    trained = train(trunk, lora=lora)
    assert trained.held_out is not None
    assert (trained.trained.value, trained.held_out.value) == (1.0, 1.0)
    assert trained.losses[0] > 0.3 > 0.1 > trained.losses[-1]


def test_an_untrained_model_prefers_nothing(trunk: str) -> None:
    """The head starts at 0, so the first loss is log 2. Equal rewards count as wrong."""
    config = ModelConfig(trunk=trunk, lora=2)
    trained = train_reward_model(separable(12), config, epochs=1, lr=0.0, head_lr=0.0, held_out=0.0)
    assert trained.losses == pytest.approx([math.log(2)])
    assert trained.trained.correct == 0 and trained.held_out is None


def test_rewards_of_the_training_texts_are_standardized(trunk: str) -> None:
    trained = train(trunk, epochs=2, held_out=0.0)
    texts = [(p.prompt, text) for p in separable(60) for text in (p.chosen, p.rejected)]
    rewards = trained.reward_model([prompt for prompt, _ in texts], [text for _, text in texts])
    assert (np.mean(rewards), np.std(rewards)) == pytest.approx((0.0, 1.0), abs=1e-5)


def test_one_seed_determines_the_result(trunk: str) -> None:
    def rewards(seed: int) -> list[float]:
        torch.rand(seed + 1)  # the state before the training has no effect
        return train(trunk, epochs=1, seed=seed).reward_model(["you see a"], [" key"])

    assert rewards(1) == rewards(1) != rewards(2)


def test_held_out_preferences_have_their_own_prompts() -> None:
    preferences = separable(50)
    tested, learned = split_by_prompt(preferences, 0.3, np.random.default_rng(0))
    assert not {p.prompt for p in tested} & {p.prompt for p in learned}
    assert sorted(map(repr, tested + learned)) == sorted(map(repr, preferences))
    assert 15 <= len(tested) < 30
    assert split_by_prompt(preferences, 0.0, np.random.default_rng(0)) == ([], preferences)
    with pytest.raises(AgentError, match="no preference is left for training"):
        split_by_prompt(preferences[:1] * 3, 0.1, np.random.default_rng(0))


@pytest.mark.parametrize(("correct", "pairs"), [(0, 7), (3, 10), (7, 7)])
def test_the_interval_of_the_accuracy_is_that_of_clopper_and_pearson(correct: int, pairs: int) -> None:
    found = Accuracy.of([(1.0, 0.0)] * correct + [(0.0, 1.0)] * (pairs - correct))
    low = beta.ppf(0.025, correct, pairs - correct + 1) if correct else 0.0
    high = beta.ppf(0.975, correct + 1, pairs - correct) if correct < pairs else 1.0
    assert (found.value, found.low, found.high) == pytest.approx((correct / pairs, low, high))


def test_equal_rewards_count_as_wrong() -> None:
    assert Accuracy.of([(2.0, 1.0), (1.0, 2.0), (1.0, 1.0), (-1.0, -2.0)]).correct == 2


def test_rewards_are_paired_by_preference() -> None:
    class Length(RewardModel):
        def __init__(self) -> None: ...

        def __call__(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
            return [10.0 * len(prompt) + len(text) for prompt, text in zip(prompts, completions, strict=True)]

    preferences = [
        Preference(prompt="p", chosen="aa", rejected="a"),
        Preference(prompt="pp", chosen="", rejected="aaa"),
    ]
    assert paired_rewards(Length(), preferences) == [(12.0, 11.0), (20.0, 23.0)]
