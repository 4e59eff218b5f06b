"""The targets and losses of PPO and ACTDE: values by hand, and where the two differ."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from actde import (
    ACTDE,
    PPO,
    Batch,
    OptimizerConfig,
    OptimizerError,
    Outputs,
    Targets,
    make_optimizer,
    optimizer_class,
    optimizer_names,
)
from tests.helpers.actde_batches import LENGTHS, VARIANTS, changed, gradients, made, random_batch, random_outputs, table


def hand_batch() -> Batch:
    return Batch(
        rewards=table([1, 0, 2]),
        discounts=table([0.5, 0.5, 0]),
        mask=torch.ones(1, 3, dtype=torch.bool),
        logprobs=table([-1, -1, -1]),
        values=table([1, 2, 4]),
        next_values=table([2, 4, 9]),
        q_values=table([2, 2, 3]),
    )


def test_a_table_by_hand() -> None:
    ppo = PPO(OptimizerConfig(gae_lambda=1)).targets(hand_batch())
    actde = ACTDE(OptimizerConfig(gae_lambda=1)).targets(hand_batch())
    assert ppo.advantages.tolist() == [[0.5, -1, -2]]
    assert actde.advantages.tolist() == [[-0.25, -0.5, -1]]
    assert ppo.returns.tolist() == actde.returns.tolist() == [[1.5, 1, 2]]
    by_return = ACTDE(OptimizerConfig(gae_lambda=1, advantage="return")).targets(hand_batch())
    assert by_return.advantages.tolist() == [[-0.5, -1, -1]]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 6), min_size=1, max_size=4), st.sampled_from(VARIANTS))
def test_actde_with_q_equal_to_v_is_ppo_bit_for_bit(seed: int, lengths: list[int], variant: dict[str, Any]) -> None:
    batch = random_batch(seed, lengths)
    batch = changed(batch, lambda name, x: batch.values if name == "q_values" else x)
    found = []
    for name in ("ppo", "actde"):
        optimizer, outputs = made(name, **variant), random_outputs(batch, seed)
        targets = optimizer.targets(batch)
        found.append((targets, optimizer.loss(batch, targets, outputs)))
    (ppo, (ppo_loss, ppo_measures)), (actde, (actde_loss, actde_measures)) = found
    assert torch.equal(ppo.advantages, actde.advantages)
    assert torch.equal(ppo.returns, actde.returns)
    assert torch.equal(ppo_loss, actde_loss)
    assert {key: float(x) for key, x in ppo_measures.items()} == {key: float(x) for key, x in actde_measures.items()}


EVEN = [1 / 3, 1 / 3, 1 / 3]


@pytest.mark.parametrize(
    ("penalty", "first"), [("entropy_coef", EVEN), ("kl_coef", [0.25, 0.25, 0.5]), ("kl_coef", [0.6, 0.1, 0.3])]
)
def test_a_penalty_in_the_loss_balances_the_reward_in_ppo_and_dominates_in_actde_once_q_is_learned(
    penalty: str, first: list[float]
) -> None:
    """The rewards r make 1/2, 1/4, 1/4 the best policy under the penalty, softmax(log first + r / weight)."""
    weight, actions = 0.3, torch.tensor([0, 0, 1, 2])
    reference = torch.log(torch.tensor(first, dtype=torch.float64))
    best = torch.log(torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64))
    rewards = weight * (best - reference)
    column = rewards[actions, None]

    def push(name: str, policy: Tensor) -> Tensor:
        """Return the loss's gradient in the logits. q is exact. v and the counts of actions are those of `best`."""
        logits = policy.clone().requires_grad_()
        logprobs = torch.log_softmax(logits, dim=0)
        batch = Batch(
            rewards=column,
            discounts=torch.zeros_like(column),
            mask=torch.ones_like(column, dtype=torch.bool),
            logprobs=logprobs[actions, None].detach(),
            values=(best.exp() @ rewards).expand_as(column),
            next_values=torch.zeros_like(column),
            q_values=column,
        )
        outputs = Outputs(
            logprobs=logprobs[actions, None],
            entropy=-(logprobs.exp() @ logprobs).expand_as(column),
            values=batch.values,
            q_values=column[..., None],
            kl=(logprobs.exp() @ (logprobs - torch.log_softmax(reference, dim=0))).expand_as(column),
        )
        values: dict[str, Any] = {penalty: weight}
        optimizer = make_optimizer(name, OptimizerConfig(**values))
        return torch.autograd.grad(optimizer.loss(batch, optimizer.targets(batch), outputs)[0], logits)[0]

    nothing = torch.zeros(3, dtype=torch.float64)
    torch.testing.assert_close(push("ppo", best), nothing)
    assert (push("actde", best) @ (torch.log_softmax(reference, dim=0) - best)) < -1e-3, (
        "towards the penalty's own optimum"
    )
    torch.testing.assert_close(push("actde", reference), nothing)


def test_at_lambda_0_the_two_advantages_of_actde_are_the_posts_equation() -> None:
    batch = random_batch(8, LENGTHS)
    assert batch.q_values is not None
    wanted = batch.rewards + batch.discounts * batch.next_values - batch.q_values
    for advantage in ("lambda", "return"):
        found = made("actde", gae_lambda=0, advantage=advantage).targets(batch).advantages
        torch.testing.assert_close(found, torch.where(batch.mask, wanted, 0.0))


def test_the_targets_of_v_and_q_are_the_same_in_both() -> None:
    batch = random_batch(9, LENGTHS)
    returns = [
        made(name, gae_lambda=gae_lambda).targets(batch).returns for gae_lambda in (0.7,) for name in ("ppo", "actde")
    ]
    assert torch.equal(*returns)


def test_ppo_trains_q_only_on_request_and_its_policy_ignores_q() -> None:
    batch = random_batch(10, LENGTHS)
    plain, measuring = PPO(OptimizerConfig()), PPO(OptimizerConfig(train_q=True))
    targets = plain.targets(batch)
    assert not plain.trains_q
    assert torch.equal(targets.advantages, measuring.targets(batch).advantages)
    assert "q_values" not in gradients(plain, batch, targets, random_outputs(batch))
    assert "q_loss" not in plain.loss(batch, targets, random_outputs(batch))[1]
    both = [gradients(one, batch, targets, random_outputs(batch)) for one in (plain, measuring)]
    assert torch.equal(both[0]["logprobs"], both[1]["logprobs"])
    assert both[1]["q_values"].any()
    without = random_batch(10, LENGTHS, q=False)
    assert torch.equal(plain.targets(without).advantages, targets.advantages)
    with pytest.raises(OptimizerError, match="--value-loss ilql needs q"):
        PPO(OptimizerConfig(value_loss="ilql"))


BY_ADVANTAGES = [name for name in optimizer_names() if optimizer_class(name).labels == "none" and name != "mpo"]


@pytest.mark.parametrize("name", BY_ADVANTAGES)
def test_at_ratio_1_the_surrogate_is_the_policy_gradient(name: str) -> None:
    optimizer, batch = made(name), random_batch(11, LENGTHS)
    outputs, targets = random_outputs(batch, near=True), optimizer.targets(batch)
    _, measures = optimizer.loss(batch, targets, outputs)
    assert float(measures["ratio"]) == 1
    assert float(measures["approx_kl"]) == float(measures["clip_fraction"]) == 0
    found = gradients(optimizer, batch, targets, outputs)["logprobs"]
    torch.testing.assert_close(found, torch.where(batch.mask, -targets.advantages, 0.0) / 10)


def test_a_choice_with_advantage_0_is_counted() -> None:
    batch = hand_batch()
    targets = Targets(advantages=table([0, 0, 3]), returns=table([1, 2, 4]))
    loss, measures = PPO(OptimizerConfig(value_coef=0)).loss(batch, targets, random_outputs(batch, near=True))
    assert loss.item() == -1
    assert int(measures["choices"]) == 3


def test_the_loss_is_the_weighted_sum_of_its_measures() -> None:
    settings_ = OptimizerConfig(value_coef=0.3, q_coef=0.7, entropy_coef=0.2, kl_coef=0.5)
    batch = random_batch(12, LENGTHS)
    optimizer = ACTDE(settings_)
    loss, m = optimizer.loss(batch, optimizer.targets(batch), random_outputs(batch))
    wanted = m["policy_loss"] + 0.3 * m["value_loss"] + 0.7 * m["q_loss"]
    torch.testing.assert_close(loss.detach(), wanted - 0.2 * m["entropy"] + 0.5 * m["kl_ref"])


def test_kl_in_the_reward_is_subtracted_from_every_choice() -> None:
    batch = random_batch(13, LENGTHS)
    assert batch.ref_logprobs is not None
    gap = batch.logprobs - batch.ref_logprobs
    by_hand = changed(batch, lambda name, x: x - 0.2 * gap if name == "rewards" else x)
    found = made("actde", kl_coef=0.2, kl_place="reward").targets(batch)
    wanted = made("actde").targets(by_hand)
    assert torch.equal(found.advantages, wanted.advantages)
    assert torch.equal(found.returns, wanted.returns)


def test_kl_in_the_loss_does_not_change_the_rewards() -> None:
    batch = random_batch(13, LENGTHS)
    found, wanted = (made("actde", kl_coef=coef).targets(batch) for coef in (0.2, 0.0))
    assert torch.equal(found.advantages, wanted.advantages)
    assert torch.equal(found.returns, wanted.returns)


def test_kl_in_the_reward_is_a_metric_but_no_term_of_the_loss() -> None:
    batch = random_batch(14, LENGTHS)
    outputs = random_outputs(batch)
    optimizer = made("ppo", kl_coef=0.2, kl_place="reward")
    found = gradients(optimizer, batch, optimizer.targets(batch), outputs)
    assert not found["kl"].any()
    sampled = changed(outputs, lambda name, x: x)
    sampled = Outputs(
        logprobs=sampled.logprobs, entropy=sampled.entropy, values=sampled.values, q_values=sampled.q_values
    )
    _, measures = optimizer.loss(batch, optimizer.targets(batch), sampled)
    assert batch.ref_logprobs is not None
    gap = (batch.logprobs - batch.ref_logprobs)[batch.mask].mean()
    torch.testing.assert_close(measures["kl_ref"], gap)


def test_an_adaptive_coefficient_is_the_one_applied() -> None:
    batch = random_batch(15, LENGTHS)
    optimizer = made("ppo", kl_coef=1.0, kl_target=0.1)
    targets, outputs = optimizer.targets(batch), random_outputs(batch)
    before, measures = optimizer.loss(batch, targets, outputs)
    optimizer.after_update(1.0)
    after, _ = optimizer.loss(batch, targets, outputs)
    torch.testing.assert_close((after - before).detach(), 0.02 * measures["kl_ref"])


def test_the_expectile_uses_target_heads_and_else_the_rollouts_q() -> None:
    batch = random_batch(16, LENGTHS)
    outputs = random_outputs(batch)
    optimizer = made("actde", value_loss="ilql")
    targets = optimizer.targets(batch)
    no_heads = Outputs(
        logprobs=outputs.logprobs, entropy=outputs.entropy, values=outputs.values, q_values=outputs.q_values
    )
    for given_, q in ((outputs, outputs.target_q_values), (no_heads, batch.q_values)):
        assert q is not None
        _, measures = optimizer.loss(batch, targets, given_)
        gap = q - outputs.values
        wanted = torch.where(gap > 0, 0.9 * gap**2, 0.1 * gap**2)[batch.mask].mean()
        assert float(measures["value_loss"]) == pytest.approx(float(wanted.detach()), rel=1e-6)


def test_the_clip_fraction_and_ratio_by_hand() -> None:
    batch = hand_batch()
    logprobs = batch.logprobs + torch.log(table([1.1, 1.3, 0.6]))
    outputs = changed(random_outputs(batch), lambda name, x: logprobs if name == "logprobs" else x)
    optimizer = PPO(OptimizerConfig())
    _, measures = optimizer.loss(batch, optimizer.targets(batch), outputs)
    assert float(measures["ratio"]) == pytest.approx(1)
    assert float(measures["clip_fraction"]) == pytest.approx(2 / 3)


def test_a_large_clip_range_is_ppo_without_clipping() -> None:
    """The loss is that of the importance-weighted policy gradient, -(pi / pi_old) A, also far from ratio 1."""
    batch = random_batch(18, LENGTHS)
    far = (3 * batch.logprobs).requires_grad_()
    outputs = changed(random_outputs(batch), lambda name, x: far if name == "logprobs" else x)
    found = {}
    for clip_range in (0.2, 1e9):
        optimizer = PPO(OptimizerConfig(clip_range=clip_range))
        targets = optimizer.targets(batch)
        terms = optimizer.policy_loss(batch, targets, outputs)[batch.mask]
        found[clip_range] = terms, torch.autograd.grad(terms.sum(), far, retain_graph=True)[0][batch.mask]
    wanted = (-(far - batch.logprobs).exp() * targets.advantages)[batch.mask]
    torch.testing.assert_close(found[1e9], (wanted, wanted.detach()))  # d ratio / d log pi = ratio
    assert not torch.allclose(found[0.2][1], wanted)


def test_the_summary_by_hand() -> None:
    batch = hand_batch()
    optimizer = ACTDE(OptimizerConfig(gae_lambda=1))
    found = {key: float(x) for key, x in optimizer.summary(batch, optimizer.targets(batch)).items()}
    assert found == pytest.approx(
        {
            "return": 1.5,
            "advantage": -1.75 / 3,
            "advantage_abs": 1.75 / 3,
            "explained_variance": 1 - _ratio([0.5, -1, -2], [1.5, 1, 2]),
            "explained_variance_q": 1 - _ratio([-0.5, -1, -1], [1.5, 1, 2]),
        }
    )


def _ratio(rest: list[float], total: list[float]) -> float:
    """Variance of `rest` over variance of `total`."""
    spread = torch.tensor([rest, total], dtype=torch.float64).var(dim=1)
    return float(spread[0] / spread[1])


def test_advantages_vanish_once_q_is_learned_unless_whitened() -> None:
    """q = G up to 0.001: ACTDE's advantages almost vanish; whitening rescales them."""
    batch = random_batch(17, LENGTHS)
    known = made("actde").targets(batch).returns
    noise = 1e-3 * torch.sin(torch.arange(known.numel())).reshape(known.shape)
    batch = changed(batch, lambda name, x: known + noise if name == "q_values" else x)
    quiet = made("actde", advantage="return").targets(batch).advantages
    loud = made("actde", advantage="return", whitening="batch").targets(batch).advantages
    assert float(quiet.abs().max()) < 2e-3
    assert float(loud.abs().max()) > 1
