"""Losses by hand, and the mean over micro-batches."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from actde.losses import (
    clipped_surrogate,
    clipped_value_loss,
    expectile_value_loss,
    masked_mean,
    q_loss,
    sampled_kl,
)
from tests.helpers.actde_batches import table


def slope_of(loss: Tensor, x: Tensor) -> Tensor:
    return torch.autograd.grad(loss.sum(), x)[0]


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        (1.0, 2.0, -2.0, -2.0),
        (1.1, 2.0, -2.2, -2.0),
        (1.5, 2.0, -2.4, 0.0),  # far enough in the good direction: nothing more to earn
        (0.5, 2.0, -1.0, -2.0),  # gone the wrong way: pulled back in full
        (0.5, -2.0, 1.6, 0.0),
        (1.5, -2.0, 3.0, 2.0),
        (1.5, 0.0, 0.0, 0.0),
    ],
)
def test_the_surrogate_is_clipped_only_in_the_direction_of_improvement(
    ratio: float, advantage: float, loss: float, slope: float
) -> None:
    x = table([ratio]).requires_grad_()
    found = clipped_surrogate(x, table([advantage]), 0.2)
    assert found.item() == pytest.approx(loss)
    assert slope_of(found, x).item() == pytest.approx(slope)


@pytest.mark.parametrize(
    ("value", "target", "clip_range", "loss", "slope"),
    [
        (1.1, 2.0, 0.2, 0.5 * 0.9**2, -0.9),
        (1.5, 2.0, 0.2, 0.5 * 0.8**2, 0.0),  # moved far towards the return: stops
        (0.5, 2.0, 0.2, 0.5 * 1.5**2, -1.5),  # moved away: pulled back in full
        (1.5, 2.0, None, 0.5 * 0.5**2, -0.5),
    ],
)
def test_the_value_loss_has_no_gradient_beyond_its_clip_range(
    value: float, target: float, clip_range: float | None, loss: float, slope: float
) -> None:
    x = table([value]).requires_grad_()
    found = clipped_value_loss(x, table([1.0]), table([target]), clip_range)
    assert found.item() == pytest.approx(loss)
    assert slope_of(found, x).item() == pytest.approx(slope)


def test_the_expectile_loss_by_hand() -> None:
    found = expectile_value_loss(table([1, 1, 1]), table([3, 0, 1]), 0.9)
    torch.testing.assert_close(found, table([0.9 * 4, 0.1 * 1, 0]))


@pytest.mark.parametrize(("expectile", "wanted"), [(0.5, 1.0), (0.9, 9 / 5), (0.1, 1 / 5)])
def test_the_expectile_loss_has_its_minimum_at_the_expectile(expectile: float, wanted: float) -> None:
    """q is 0 or 2, half of the time each: tau (2 - v) = (1 - tau) v at v = 2 tau."""
    v = torch.full((1, 2), wanted, dtype=torch.float64, requires_grad=True)
    loss = expectile_value_loss(v, table([0, 2]), expectile)
    assert float(slope_of(loss, v).sum()) == pytest.approx(0, abs=1e-12)


def test_the_q_loss_sums_over_the_heads_without_a_half() -> None:
    q = torch.tensor([[[1.0, 4.0], [0.0, 0.0]]])
    assert q_loss(q, torch.tensor([[2.0, 3.0]])).tolist() == [[1 + 4, 9 + 9]]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-4, 4), min_size=2, max_size=5), st.floats(-1, 1))
def test_the_sampled_kl_has_the_mean_of_the_exact_kl_and_is_never_negative(logits: list[float], shift: float) -> None:
    old = torch.tensor(logits, dtype=torch.float64).log_softmax(0)
    new = (torch.tensor(logits, dtype=torch.float64) + shift * torch.arange(len(logits))).log_softmax(0)
    found = sampled_kl(new - old)
    assert bool((found >= 0).all())
    exact = (old.exp() * (old - new)).sum()
    assert float((old.exp() * found).sum()) == pytest.approx(float(exact), abs=1e-9)


def test_a_tiny_kl_is_precise() -> None:
    assert float(sampled_kl(torch.tensor(1e-3))) == pytest.approx(5e-7, rel=0.2)


def test_means_count_zeros_and_skip_padding() -> None:
    mask = torch.tensor([[True, True, True, False]])
    x = table([0, 3, 0, math.nan])
    assert float(masked_mean(x, mask)) == 1
    assert float(masked_mean(x, mask, 6)) == 0.5
    with pytest.raises(ValueError, match="a mean needs at least one choice, got count 0"):
        masked_mean(x, torch.zeros_like(mask))


def test_means_of_micro_batches_add_up_with_the_count_of_the_batch() -> None:
    x, mask = torch.rand(6, 5, dtype=torch.float64), torch.rand(6, 5) < 0.7
    parts = [masked_mean(x[rows], mask[rows], int(mask.sum())) for rows in ([0], [1, 2, 3], [4, 5])]
    torch.testing.assert_close(torch.stack(parts).sum(), masked_mean(x, mask))
