"""The losses of ILQL, against numbers that are computed by hand."""

import math

import pytest
import torch

from actde import Batch, OptimizerConfig, Outputs, make_optimizer
from tests.helpers.actde_batches import made, random_batch, random_outputs, table

LN3 = math.log(3.0)


def case() -> tuple[Batch, Outputs]:
    """Two choices: in the first, r = 1, gamma = 1/2 and v(s') = 4; the second one ends the episode with r = 2."""
    batch = Batch(
        rewards=table([1.0, 2.0]),
        discounts=table([0.5, 0.0]),
        mask=torch.tensor([[True, True]]),
        logprobs=table([-1.0, -1.0]),
        values=table([9.0, 9.0]),
        next_values=table([4.0, 9.0]),
        q_values=table([9.0, 9.0]),
    )
    outputs = Outputs(
        logprobs=table([-1.0, -1.0]).requires_grad_(),
        entropy=table([0.0, 0.0]),
        values=table([1.0, 5.0]).requires_grad_(),
        q_values=torch.tensor([[[1.0, 5.0], [2.0, 2.5]]], dtype=torch.float64, requires_grad=True),
        target_q_values=table([2.0, 3.0]),
        q_logprobs=torch.tensor([[[-LN3, 0.0], [-1.0, -2.0]]], dtype=torch.float64, requires_grad=True),
        label_logprobs=table([-0.5, 0.0]).requires_grad_(),
    )
    return batch, outputs


def test_losses_and_gradients_by_hand() -> None:
    """The targets of q are 1 + 4 / 2 = 3 and 2, and those of v are 2 (above v) and 3 (below v)."""
    batch, outputs = case()
    optimizer = make_optimizer("ilql", OptimizerConfig(expectile=0.9, cql_coef=0.2, q_coef=1.0, value_coef=0.5))
    targets = optimizer.targets(batch)
    assert targets.returns.tolist() == [[3.0, 2.0]]
    assert targets.advantages.tolist() == [[-6.0, -7.0]]
    loss, metrics = optimizer.loss(batch, targets, outputs)
    wanted = {
        "policy_loss": (0.5 + 0.0) / 2,
        "q_loss": ((4 + 4) + (0 + 0.25)) / 2,
        "value_loss": (0.9 * 1 + 0.1 * 4) / 2,
        "cql_loss": (LN3 + 3.0) / 2,
    }
    assert {name: metrics[name].item() for name in wanted} == pytest.approx(wanted)
    weights = {"policy_loss": 1.0, "q_loss": 1.0, "value_loss": 0.5, "cql_loss": 0.2}
    assert loss.item() == pytest.approx(sum(weights[name] * value for name, value in wanted.items()))
    leaves = outputs.values, outputs.q_values, outputs.q_logprobs, outputs.label_logprobs
    v, q, cql, label = torch.autograd.grad(loss, [leaf for leaf in leaves if leaf is not None])
    torch.testing.assert_close(v, table([0.5 * 0.9 * -2 / 2, 0.5 * 0.1 * 4 / 2]))
    torch.testing.assert_close(q, torch.tensor([[[-4.0, 4.0], [0.0, 1.0]]], dtype=torch.float64) / 2)
    torch.testing.assert_close(cql, torch.full((1, 2, 2), -0.2 / 2, dtype=torch.float64))
    torch.testing.assert_close(label, table([-0.5, -0.5]))


def test_v_follows_the_recorded_q_if_there_are_no_target_heads() -> None:
    batch, outputs = case()
    without = Outputs(**{name: x for name, x in outputs.tensors().items() if name != "target_q_values"})
    optimizer = make_optimizer("ilql", OptimizerConfig(expectile=0.9))
    _, metrics = optimizer.loss(batch, optimizer.targets(batch), without)
    assert float(metrics["value_loss"]) == pytest.approx(0.9 * (64 + 16) / 2)


def test_lambda_and_the_value_loss_have_no_effect() -> None:
    batch = random_batch(3, [3, 2])
    outputs, plain = random_outputs(batch), made("ilql")
    other = made("ilql", gae_lambda=1.0, value_loss="ppo")
    torch.testing.assert_close(plain.targets(batch).returns, other.targets(batch).returns)
    losses = [optimizer.loss(batch, optimizer.targets(batch), outputs)[0] for optimizer in (plain, other)]
    torch.testing.assert_close(losses[0], losses[1])


def test_own_play_is_not_imitated() -> None:
    batch, outputs = case()
    own = Outputs(**{name: x for name, x in outputs.tensors().items() if name != "label_logprobs"})
    optimizer = make_optimizer("ilql", OptimizerConfig())
    loss, metrics = optimizer.loss(batch, optimizer.targets(batch), own)
    assert float(metrics["policy_loss"]) == 0.0
    (gradient,) = torch.autograd.grad(loss, own.logprobs, allow_unused=True)
    assert gradient is None or not gradient.any()


def test_the_q_of_all_alternatives_is_needed() -> None:
    batch, outputs = case()
    without = Outputs(**{name: x for name, x in outputs.tensors().items() if name != "q_logprobs"})
    optimizer = make_optimizer("ilql", OptimizerConfig())
    with pytest.raises(ValueError, match=r"'ilql' needs Outputs.q_logprobs, got None"):
        optimizer.loss(batch, optimizer.targets(batch), without)
