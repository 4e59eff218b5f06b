"""Losses to minimise. Tensors are [B, T] (see `actde.batch`)."""

import torch
from torch import Tensor


def masked_mean(x: Tensor, mask: Tensor, count: float | Tensor | None = None) -> Tensor:
    """Return the sum of x where `mask` is True, divided by `count`.

    By default, `count` is the number of True entries.
    """
    count = mask.sum() if count is None else count
    if not count > 0:
        raise ValueError(f"a mean needs at least one choice, got count {count}")
    return torch.where(mask, x, 0.0).sum() / count


def clipped_surrogate(ratio: Tensor, advantages: Tensor, clip_range: float) -> Tensor:
    """Return PPO's clipped policy loss, the negative of eq. 7 of Schulman et al. (2017).

    `ratio` is pi(a_t | s_t) / pi_old(a_t | s_t).
    """
    clipped = ratio.clamp(1.0 - clip_range, 1.0 + clip_range)
    return torch.max(-advantages * ratio, -advantages * clipped)


def clipped_value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip_range: float | None) -> Tensor:
    """Return PPO's clipped value loss in units of reward squared, as in OpenAI Baselines.

    If `clip_range` is None, the loss is half the squared error.
    """
    squares = (values - returns).square()
    if clip_range is None:
        return 0.5 * squares
    clipped = torch.clamp(values, old_values - clip_range, old_values + clip_range)
    return 0.5 * torch.max(squares, (clipped - returns).square())


def expectile_value_loss(values: Tensor, q_values: Tensor, expectile: float) -> Tensor:
    """Return the value loss of implicit Q-learning, Kostrikov et al. (2021), eq. 5.

    The loss fits v to an expectile of q.
    """
    errors = q_values - values
    return (expectile - (errors < 0).to(errors.dtype)).abs() * errors.square()


def q_loss(q_values: Tensor, returns: Tensor) -> Tensor:
    """Return the squared errors of `q_values` [B, T, H] to `returns`, summed over the H heads."""
    # no factor 1/2, as in the code of Turner and Einhorn (2023)
    return (q_values - returns.unsqueeze(-1)).square().sum(dim=-1)


def sampled_kl(log_ratio: Tensor) -> Tensor:
    """Return the estimate k3 of KL(pi_old || pi) in nats (Schulman, 2020).

    `log_ratio` is log pi - log pi_old of the sampled action.
    """
    return torch.expm1(log_ratio) - log_ratio
