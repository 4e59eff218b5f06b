"""MPO and re-centred ACTDE: where their gradients vanish, and which other losses have the same gradients."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from actde import Batch, OptimizerConfig, OptimizerError, Outputs, make_optimizer
from actde.expected_update import limit_policy
from tests.helpers.actde_batches import LENGTHS, made, random_batch, random_outputs

some = settings(max_examples=15, deadline=None)
seeds = st.integers(0, 10_000)
taus = st.floats(0.1, 10)
ACTIONS = 4


def policies(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return random logits, reference probabilities and q of one state. The shapes are [A]."""
    rng = torch.Generator().manual_seed(seed)
    logits, reference, q = (torch.randn(ACTIONS, generator=rng, dtype=torch.float64) for _ in range(3))
    return logits, reference.softmax(0), q


def losses(
    name: str, logits: Tensor, reference: Tensor, q: Tensor, *, value: float | None = None, **values: Any
) -> tuple[Tensor, Tensor]:
    """Return the policy loss and the advantages [A, 1] of a bandit in which every action was tried once.

    The reward of an action is its q. The loss includes `kl_coef` times the KL. If `value` is None, v is the policy's
    mean of q.
    """
    policy = logits.softmax(0)
    logprobs = policy.log()
    rewards = q[:, None]
    batch = Batch(
        rewards=rewards,
        discounts=torch.zeros_like(rewards),
        mask=torch.ones_like(rewards, dtype=torch.bool),
        logprobs=logprobs[:, None].detach(),
        values=torch.full_like(rewards, float((policy @ q).detach() if value is None else value)),
        next_values=torch.zeros_like(rewards),
        q_values=rewards,
        ref_logprobs=reference.log()[:, None],
    )
    kl = (policy @ (logprobs - reference.log())).expand(ACTIONS, 1)
    outputs = Outputs(
        logprobs=logprobs[:, None],
        entropy=torch.zeros_like(kl),
        values=batch.values,
        q_values=rewards.unsqueeze(-1),
        kl=kl,
        expected_q=(policy @ q).expand(ACTIONS, 1),
    )
    optimizer = make_optimizer(name, OptimizerConfig(advantage="return", **values))
    targets = optimizer.targets(batch)
    loss = optimizer.policy_loss(batch, targets, outputs) + optimizer.config.kl_coef * kl
    return loss, targets.advantages


def step(name: str, logits: Tensor, reference: Tensor, q: Tensor, **values: Any) -> Tensor:
    """Return the exact expectation of the gradient with respect to the logits. The shape is [A]."""
    logits = logits.clone().requires_grad_()
    loss, _ = losses(name, logits, reference, q, **values)
    (gradient,) = torch.autograd.grad(logits.softmax(0).detach() @ loss[:, 0], logits)
    return gradient


@some
@given(seeds, taus)
def test_the_loss_of_mpo_is_the_kl_to_the_tilted_prior(seed: int, tau: float) -> None:
    logits, reference, q = policies(seed)
    variable = logits.clone().requires_grad_()
    logprobs = variable.log_softmax(0)
    kl = logprobs.exp() @ (logprobs - limit_policy(reference, q, tau).log())
    (wanted,) = torch.autograd.grad(kl, variable)
    torch.testing.assert_close(step("mpo", logits, reference, q, tau=tau), wanted)
    for wrong in (-q, q.roll(1)):
        assert (step("mpo", logits, reference, wrong, tau=tau) - wanted).abs().max() > 1e-4 / tau


@some
@given(seeds, st.floats(0.5, 10))  # at a smaller tau the policy is nearly deterministic, and all gradients are small
def test_both_rest_at_the_tilted_prior_and_return_to_it(seed: int, tau: float) -> None:
    logits, reference, q = policies(seed)
    rest = limit_policy(reference, q, tau).log()
    for name, recentre in (("mpo", False), ("actde", True)):
        values = {"tau": tau, "recentre_q": recentre}
        torch.testing.assert_close(step(name, rest, reference, q, **values), torch.zeros_like(rest))
        away = 0.1 * (logits - logits.mean())  # gradient descent leads back
        assert step(name, rest + away, reference, q, **values) @ away > 0
    for wrong in (reference.roll(1), limit_policy(reference, -2 * q, tau)):  # a shifted prior, and the wrong sign of q
        assert step("actde", rest, wrong, q, tau=tau, recentre_q=True).abs().max() > 1e-5
    assert step("actde", logits, reference, q).abs().max() < 1e-12, "plain ACTDE rests wherever q is accurate"


@some
@given(seeds, taus, st.floats(-3, 3))
def test_the_expected_step_of_recentred_actde_is_that_of_ppo_with_the_kl_in_the_loss(
    seed: int, tau: float, value: float
) -> None:
    """This holds for any v, because v is the same for all actions."""
    state = policies(seed)
    ours = step("actde", *state, tau=tau, recentre_q=True, value=value)
    torch.testing.assert_close(ours, step("ppo", *state, kl_coef=tau))
    assert (step("actde", *state, tau=1.1 * tau, recentre_q=True) - ours).abs().max() > 1e-6


@some
@given(seeds, taus)
def test_at_the_limit_every_single_error_of_recentred_actde_vanishes_and_that_of_ppo_does_not(
    seed: int, tau: float
) -> None:
    _, reference, q = policies(seed)
    rest = limit_policy(reference, q, tau).log()
    loss, advantages = losses("actde", rest, reference, q, tau=tau, recentre_q=True)
    torch.testing.assert_close(loss, torch.zeros_like(loss))  # at ratio 1, the loss is minus the error
    assert float(advantages.std()) < 1e-9, "the recorded errors lack the KL, which is the same for all actions"
    assert losses("ppo", rest, reference, q, kl_coef=tau)[0].std() > 1e-3


def test_settings_that_would_break_the_identity_are_refused() -> None:
    refused: list[dict[str, Any]] = [{"advantage": "lambda"}, {"advantage": "return", "whitening": "batch"}]
    for values in refused:
        with pytest.raises(OptimizerError, match="expected --advantage return and --whitening none, got"):
            make_optimizer("actde", OptimizerConfig(recentre_q=True, **values))


@pytest.mark.parametrize(("name", "recentre"), [("mpo", False), ("actde", True)])
def test_the_kl_and_the_reference_are_needed(name: str, recentre: bool) -> None:
    optimizer = made(name, recentre_q=recentre, advantage="return")
    assert optimizer.needs_reference
    batch = random_batch(7, LENGTHS)
    full = random_outputs(batch)
    outputs = Outputs(
        logprobs=full.logprobs,
        entropy=full.entropy,
        values=full.values,
        q_values=full.q_values,
        expected_q=full.expected_q,
    )
    with pytest.raises(ValueError, match=r"needs Outputs.kl, got None"):
        optimizer.loss(batch, optimizer.targets(batch), outputs)
