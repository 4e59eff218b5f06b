"""The contract of all registered optimizers, and the differences between PPO and ACTDE."""

import inspect
import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from actde import (
    Optimizer,
    OptimizerError,
    Outputs,
    Targets,
    optimizer_names,
)
from tests.helpers.actde_batches import (
    LENGTHS,
    VARIANTS,
    changed,
    chosen,
    gradients,
    in_processes,
    made,
    padded,
    random_batch,
    random_outputs,
)

EVERY = optimizer_names()
MEASURES = {
    "policy_loss",
    "value_loss",
    "q_loss",
    "entropy",
    "kl_ref",
    "ratio",
    "approx_kl",
    "clip_fraction",
    "choices",
}
every_optimizer = pytest.mark.parametrize("name", EVERY)
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def measured_by(name: str) -> set[str]:
    """Return the metrics of an optimizer's loss. GRPO and QAE train no v, and ILQL has one more loss."""
    own = {"cql_loss"} if name == "ilql" else set()
    return MEASURES - {"value_loss"} if name in ("grpo", "qae") else MEASURES | own


def answer(outputs: Outputs) -> Outputs:
    """The same outputs as new leaves."""
    return changed(outputs, lambda name, x: x.detach().clone().requires_grad_(name not in ("target_q_values",)))


# The contract


@every_optimizer
@every_variant
def test_targets_and_loss_have_the_documented_form(name: str, variant: dict[str, Any]) -> None:
    optimizer, batch = made(name, **variant), random_batch(1, LENGTHS)
    assert optimizer.name == name
    assert optimizer.trains_q
    assert inspect.getdoc(type(optimizer)) != inspect.getdoc(Optimizer)
    targets = optimizer.targets(batch)
    assert targets.advantages.shape == targets.returns.shape == batch.mask.shape
    assert not targets.advantages[~batch.mask].any()
    assert not targets.returns[~batch.mask].any()
    loss, measures = optimizer.loss(batch, targets, random_outputs(batch))
    assert loss.shape == ()
    assert loss.requires_grad
    assert set(measures) == measured_by(name)
    assert all(torch.isfinite(x) and x.shape == () and not x.requires_grad for x in measures.values())
    assert int(measures["choices"]) == 10


@every_optimizer
@every_variant
def test_every_choice_has_gradient_and_padding_has_none(name: str, variant: dict[str, Any]) -> None:
    """Including the first and the last choice, and segments of one choice."""
    optimizer, batch = made(name, **variant), random_batch(2, LENGTHS)
    near = random_outputs(batch, near=True)
    near = answer(changed(near, lambda name, x: batch.values + 0.01 if name == "values" else x))
    found = gradients(optimizer, batch, optimizer.targets(batch), near)
    by_sums = ["expected_q", "kl"]  # MPO's policy loss
    policy = by_sums if name == "mpo" else ["logprobs" if optimizer.labels == "none" else "label_logprobs"]
    policy = [] if name == "qae" else policy  # an episode whose reward is the quantile has no advantage
    values = [] if name in ("grpo", "qae") else ["values"]
    parts = [*policy, "q_values", *values, *(["q_logprobs"] if name == "ilql" else [])]
    assert set(parts) <= set(found)
    for part in parts:
        moved = found[part].reshape(*batch.mask.shape, -1).abs() > 0
        assert torch.equal(moved.all(dim=-1), batch.mask), part
    for grad in found.values():
        assert not grad[~batch.mask].any()


@every_optimizer
@every_variant
@pytest.mark.parametrize("garbage", [0.0, 5.0])
def test_padding_changes_nothing(name: str, variant: dict[str, Any], garbage: float) -> None:
    optimizer, batch = made(name, **variant), random_batch(3, LENGTHS)
    outputs = random_outputs(batch)
    targets, wide = optimizer.targets(batch), padded(batch, 3, garbage)
    for found, wanted in zip(_parts(optimizer.targets(wide)), _parts(targets), strict=True):
        torch.testing.assert_close(found[:, :-3], wanted)
        assert not found[:, -3:].any()
    wide_outputs = answer(padded(outputs, 3, garbage))
    _same_loss(optimizer.loss(batch, targets, outputs), optimizer.loss(wide, optimizer.targets(wide), wide_outputs))
    after = gradients(optimizer, wide, optimizer.targets(wide), wide_outputs)
    for part, grad in gradients(optimizer, batch, targets, outputs).items():
        torch.testing.assert_close(after[part][:, :-3], grad)


@every_optimizer
def test_nan_on_padding_of_the_outputs_affects_neither_loss_nor_gradient(name: str) -> None:
    optimizer, batch = made(name), random_batch(3, LENGTHS)
    outputs = answer(padded(random_outputs(batch), 2, float("nan")))
    wide = padded(batch, 2, 0.0)
    loss, _ = optimizer.loss(wide, optimizer.targets(wide), outputs)
    assert torch.isfinite(loss)
    found = gradients(optimizer, wide, optimizer.targets(wide), outputs)
    assert all(bool(torch.isfinite(grad).all()) for grad in found.values())


@every_optimizer
@every_variant
def test_the_order_of_the_segments_changes_nothing(name: str, variant: dict[str, Any]) -> None:
    optimizer, batch, order = made(name, **variant), random_batch(4, LENGTHS), torch.tensor([2, 0, 3, 1])
    outputs, targets = random_outputs(batch), optimizer.targets(batch)
    mixed = optimizer.targets(batch[order])
    for found, wanted in zip(_parts(mixed), _parts(targets), strict=True):
        torch.testing.assert_close(found, wanted[order])
    _same_loss(optimizer.loss(batch, targets, outputs), optimizer.loss(batch[order], mixed, chosen(outputs, order)))


@every_optimizer
@every_variant
def test_micro_batches_add_up_to_the_batch(name: str, variant: dict[str, Any]) -> None:
    """Given the whole batch's count, losses and gradients add up. Metrics average with the weights `choices`."""
    optimizer, batch = made(name, **variant), random_batch(5, LENGTHS)
    outputs, targets = random_outputs(batch), optimizer.targets(batch)
    whole, measures = optimizer.loss(batch, targets, outputs)
    count = int(batch.mask.sum())
    parts = []
    for rows in (torch.tensor([0]), torch.tensor([1, 3]), torch.tensor([2])):
        parts.append(optimizer.loss(batch[rows], targets[rows], chosen(outputs, rows), count=count))
    torch.testing.assert_close(torch.stack([loss for loss, _ in parts]).sum(), whole)
    moved = outputs.logprobs if optimizer.labels == "none" else outputs.label_logprobs
    moved = outputs.expected_q if name == "mpo" else moved
    assert moved is not None
    together = sum(torch.autograd.grad(loss, moved, retain_graph=True)[0] for loss, _ in parts)
    torch.testing.assert_close(together, torch.autograd.grad(whole, moved)[0])
    for key in measured_by(name) - {"choices"}:
        mean = sum(float(part[key] * part["choices"]) for _, part in parts) / count
        assert mean == pytest.approx(float(measures[key])), key


@every_optimizer
@every_variant
def test_targets_over_processes_are_those_of_the_whole(name: str, variant: dict[str, Any]) -> None:
    optimizer, batch = made(name, **variant), random_batch(6, LENGTHS)
    halves = [batch[torch.tensor([0, 1])], batch[torch.tensor([2, 3])]]
    found = in_processes(2, lambda rank, total: optimizer.targets(halves[rank], all_reduce=total))
    whole = optimizer.targets(batch)
    torch.testing.assert_close(torch.cat([part.advantages for part in found]), whole.advantages)
    torch.testing.assert_close(torch.cat([part.returns for part in found]), whole.returns)
    summary = optimizer.summary(batch, whole)
    shares = in_processes(2, lambda rank, total: optimizer.summary(halves[rank], found[rank], all_reduce=total))
    for share in shares:
        assert {key: float(x) for key, x in share.items()} == pytest.approx(
            {key: float(x) for key, x in summary.items()}
        )


@every_optimizer
def test_the_state_survives_json_and_other_states_are_refused(name: str) -> None:
    optimizer = made(name, kl_coef=0.1, kl_target=0.2)
    optimizer.after_update(9.0)
    again = made(name, kl_coef=0.1, kl_target=0.2)
    again.load_state_dict(json.loads(json.dumps(optimizer.state_dict(), allow_nan=False)))
    assert again.kl.coef == optimizer.kl.coef == pytest.approx(0.102)
    for bad in ({}, {"kl_coef": "x"}, {"kl_coef": True}, {"kl_coef": -1.0}, {"kl_coef": 1, "more": 2}):
        with pytest.raises(OptimizerError, match="kl_coef"):
            again.load_state_dict(bad)


@every_optimizer
def test_missing_tensors_are_named(name: str) -> None:
    batch = random_batch(7, LENGTHS)
    outputs = random_outputs(batch)
    optimizer = made(name)
    targets = optimizer.targets(batch)
    with pytest.raises(ValueError, match=r"needs Batch.q_values here, got None"):
        optimizer.targets(random_batch(7, LENGTHS, q=False))
    without_q = Outputs(logprobs=outputs.logprobs, entropy=outputs.entropy, values=outputs.values)
    with pytest.raises(ValueError, match=r"needs Outputs.q_values here, got None"):
        optimizer.loss(batch, targets, without_q)
    with pytest.raises(ValueError, match=r"needs Batch.ref_logprobs, got None"):
        made(name, kl_coef=1, kl_place="reward").targets(random_batch(7, LENGTHS, ref=False))
    no_kl = replace(outputs, kl=None)
    with pytest.raises(ValueError, match=r"needs Outputs.kl, got None"):
        made(name, kl_coef=1).loss(batch, targets, no_kl)
    with pytest.raises(ValueError, match=r"must be \[2, 4\] like the batch"):
        optimizer.loss(batch[torch.tensor([0, 1])], targets, outputs)
    with pytest.raises(ValueError, match="at least one choice"):
        optimizer.loss(batch, targets, outputs, count=0)


def _parts(targets: Targets) -> tuple[Tensor, Tensor]:
    return targets.advantages, targets.returns


def _same_loss(one: tuple[Tensor, dict[str, Tensor]], other: tuple[Tensor, dict[str, Tensor]]) -> None:
    torch.testing.assert_close(one[0], other[0])
    for key, value in one[1].items():
        torch.testing.assert_close(value, other[1][key])
