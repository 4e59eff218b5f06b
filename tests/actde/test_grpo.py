"""GRPO and QAE against sums by hand: groups, episodes of several segments, and the standard deviation."""

from dataclasses import replace

import pytest
import torch

from actde import Batch, OptimizerConfig, make_optimizer
from tests.helpers.actde_batches import table

REWARDS = table([1, 2], [0, 5], [4, 0], [3, 9])
MASK = torch.tensor([[True, True], [True, False], [True, True], [True, False]])


def batch(episodes: list[int], groups: list[int]) -> Batch:
    """Return four segments with the sums of rewards 3, 0, 4 and 3."""
    zeros = torch.zeros_like(REWARDS)
    return Batch(
        rewards=torch.where(MASK, REWARDS, 0.0),
        discounts=torch.where(MASK, 0.5, 0.0).double(),
        mask=MASK,
        logprobs=zeros - 1,
        values=zeros + 7,
        next_values=torch.where(MASK & torch.roll(MASK, -1, 1) & (torch.arange(2) == 0), 7.0, 0.0).double(),
        episodes=torch.tensor(episodes),
        groups=torch.tensor(groups),
    )


def advantages(data: Batch, *, name: str = "grpo", group_std: bool = True, quantile: float = 0.5) -> list[float]:
    """Return the advantage of each segment's first choice. All choices of a segment have the same advantage."""
    config = OptimizerConfig(group_std=group_std, quantile=quantile)
    result = make_optimizer(name, config).targets(data).advantages
    assert torch.equal(result, torch.where(data.mask, result[:, :1], 0.0))
    return result[:, 0].tolist()


def test_the_advantage_is_the_reward_minus_the_mean_of_the_group() -> None:
    assert advantages(batch([0, 1, 2, 3], [0, 0, 1, 1]), group_std=False) == [1.5, -1.5, 0.5, -0.5]


def test_the_segments_of_an_episode_share_its_reward_and_weigh_once() -> None:
    """The rewards of the three episodes are 3, 4 and 3; their mean is 10 / 3."""
    found = advantages(batch([0, 1, 1, 2], [0, 0, 0, 0]), group_std=False)
    assert found == pytest.approx([-1 / 3, 2 / 3, 2 / 3, -1 / 3])


def test_the_standard_deviation_of_the_group_divides_the_advantage() -> None:
    found = advantages(batch([0, 1, 2, 3], [0, 0, 1, 1]))
    assert found == pytest.approx([1, -1, 1, -1], abs=1e-5)
    assert advantages(batch([0, 1, 2, 3], [0, 1, 2, 2]))[:2] == [0, 0]  # groups of one episode


def test_q_is_fitted_to_monte_carlo_returns_whatever_v_is() -> None:
    returns = make_optimizer("grpo", OptimizerConfig(gae_lambda=0.3)).targets(batch([0, 1, 2, 3], [0, 0, 1, 1])).returns
    assert returns.tolist() == [[1 + 0.5 * 2, 2], [0, 0], [4, 0], [3, 0]]


def test_a_batch_without_groups_is_refused() -> None:
    data = batch([0, 1, 2, 3], [0, 0, 1, 1])
    bare = Batch(**{name: x for name, x in data.tensors().items() if name != "groups"})
    with pytest.raises(ValueError, match=r"needs Batch.episodes and Batch.groups"):
        make_optimizer("grpo").targets(bare)
    with pytest.raises(ValueError, match="groups must be int64"):
        Batch(**(data.tensors() | {"groups": torch.zeros(4)}))


@pytest.mark.parametrize(
    ("quantile", "baseline"), [(0.0, 0), (0.25, 0), (0.26, 3), (0.5, 3), (0.75, 3), (0.76, 4), (1.0, 4)]
)
def test_the_baseline_of_qae_is_a_quantile_of_the_group(quantile: float, baseline: float) -> None:
    """The rewards are 3, 0, 4 and 3."""
    data = batch([0, 1, 2, 3], [0, 0, 0, 0])
    wanted = [reward - baseline for reward in (3, 0, 4, 3)]
    assert advantages(data, name="qae", quantile=quantile, group_std=False) == wanted
    assert wanted != advantages(data, group_std=False), "that of GRPO is the mean"
    assert advantages(data, name="qae", quantile=quantile) == pytest.approx([x / 2.25**0.5 for x in wanted], abs=1e-5)


def test_qae_counts_an_episode_of_two_segments_once_and_groups_apart() -> None:
    assert advantages(batch([0, 1, 1, 2], [0, 0, 0, 0]), name="qae", quantile=0.6, group_std=False) == [0, 1, 1, 0]
    assert advantages(batch([0, 1, 2, 3], [0, 0, 1, 1]), name="qae", quantile=1.0, group_std=False) == [0, -3, 0, -1]


def test_with_rewards_0_and_1_qae_learns_from_rare_successes_or_rare_failures_only() -> None:
    data, wins = batch([0, 1, 2, 3], [0, 0, 0, 0]), table([1, 0], [0, 0], [0, 0], [0, 0])
    assert advantages(replace(data, rewards=wins), name="qae", group_std=False) == [1, 0, 0, 0]
    failures = table([1, 0], [0, 0], [1, 0], [1, 0])
    assert advantages(replace(data, rewards=failures), name="qae", group_std=False) == [0, -1, 0, 0]


def test_the_rank_of_a_quantile_is_exact() -> None:
    """The 0.28-quantile of 25 rewards is the 7th one, although 0.28 * 25 is 7.000000000000001 in floating point."""
    ones = torch.ones(25, 1, dtype=torch.float64)
    data = Batch(
        rewards=torch.arange(1.0, 26.0, dtype=torch.float64)[:, None],
        discounts=0 * ones,
        mask=ones > 0,
        logprobs=-ones,
        values=ones,
        next_values=0 * ones,
        episodes=torch.arange(25),
        groups=torch.zeros(25, dtype=torch.int64),
    )
    assert advantages(data, name="qae", quantile=0.28, group_std=False)[6:8] == [0.0, 1.0]
