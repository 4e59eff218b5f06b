"""ACTDE with the correction of its action-dependent baseline."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from actde import Batch, OptimizerConfig, OptimizerError, Outputs, make_optimizer


def expected_step(name: str, seed: int, **values: Any) -> Tensor:
    """Return the exact expectation of the first gradient with respect to the logits [S, A] of two chained states.

    From state 0, each of A actions leads to state 1. The episode ends after an action there. The batch holds every pair
    of actions once. Its losses are weighted by the probability of the pair.
    """
    rng = torch.Generator().manual_seed(seed)
    actions = 3
    logits = torch.randn(2, actions, generator=rng, dtype=torch.float64).requires_grad_()
    rewards = torch.randn(2, actions, generator=rng, dtype=torch.float64)
    v, q = (torch.randn(size, generator=rng, dtype=torch.float64) for size in ((2,), (2, actions)))
    taken = torch.cartesian_prod(torch.arange(actions), torch.arange(actions))  # [9, 2]
    states = torch.arange(2).expand_as(taken)
    logprobs = logits.log_softmax(-1)
    ours = logprobs[states, taken]
    batch = Batch(
        rewards=rewards[states, taken],
        discounts=torch.tensor([0.9, 0.0], dtype=torch.float64).expand(len(taken), 2),
        mask=torch.ones_like(taken, dtype=torch.bool),
        logprobs=ours.detach(),
        values=v.expand(len(taken), 2),
        next_values=torch.stack([v[1], v[1] * 0]).expand(len(taken), 2),
        q_values=q[states, taken],
    )
    outputs = Outputs(
        logprobs=ours,
        entropy=torch.zeros_like(ours),
        values=batch.values,
        q_values=q[states, taken].unsqueeze(-1),
        expected_q=(logprobs.exp() * q).sum(-1)[states],
    )
    optimizer = make_optimizer(name, OptimizerConfig(value_coef=0.0, q_coef=0.0, **values))
    loss = optimizer.policy_loss(batch, optimizer.targets(batch), outputs)  # [9, 2]
    probability = ours.detach().sum(-1, keepdim=True).exp()
    (gradient,) = torch.autograd.grad((probability * loss).sum(), logits)
    return gradient


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([{"gae_lambda": 0.0}, {"advantage": "return", "gae_lambda": 0.7}]))
def test_its_expected_first_step_is_that_of_ppo(seed: int, values: dict[str, Any]) -> None:
    ppo = expected_step("ppo", seed, gae_lambda=values["gae_lambda"])
    torch.testing.assert_close(expected_step("actde-corrected", seed, **values), ppo)
    assert (expected_step("actde", seed, **values) - ppo).abs().max() > 1e-4


def test_it_needs_the_sum_over_actions_and_advantages_without_whitening() -> None:
    with pytest.raises(OptimizerError, match="expected whitening=none"):
        make_optimizer("actde-corrected", OptimizerConfig(whitening="batch"))
    with pytest.raises(OptimizerError, match="expected recentre_q=false"):
        make_optimizer("actde-corrected", OptimizerConfig(recentre_q=True, advantage="return"))
