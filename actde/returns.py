"""TD errors, advantages and returns as functions of [B, T] tensors, with choices t = 0 .. T-1.

`mask` is False on padding, where every result is 0. The state after the last choice is represented by the bootstrap
value in `next_values[:, T-1]` only.
"""

from collections.abc import Callable

import torch
from torch import Tensor

AllReduce = Callable[[Tensor], Tensor]
"""Sums a tensor over all processes."""


def no_reduce(tensor: Tensor) -> Tensor:
    """Return the tensor unchanged; this is the `AllReduce` of a single process."""
    return tensor


def td_errors(rewards: Tensor, discounts: Tensor, next_values: Tensor, baseline: Tensor, mask: Tensor) -> Tensor:
    """Return the one-step TD errors relative to a baseline b. All tensors are [B, T].

        delta_t(b) = r_t + gamma_t v(s_{t+1}) - b_t

    With b_t = v(s_t), this is the TD error (Sutton and Barto, 2018, eq. 6.5). With b_t = q(s_t, a_t), this is the
    action-conditioned TD error (Turner and Einhorn, 2023).
    """
    return torch.where(mask, rewards + discounts * next_values - baseline, 0.0)


def lambda_advantages(errors: Tensor, discounts: Tensor, gae_lambda: float) -> Tensor:
    """Return the generalized advantage estimates, Schulman et al. (2016), eq. 16. All tensors are [B, T].

        A_t = delta_t + gamma_t lambda A_{t+1},   A_T = 0

    `errors` is 0 on padding. At the end of a terminated episode gamma_t = 0, so the sum stops there.
    """
    advantage = torch.zeros_like(errors[:, 0])
    reversed_advantages = []
    for t in range(errors.shape[1] - 1, -1, -1):
        advantage = errors[:, t] + discounts[:, t] * gae_lambda * advantage
        reversed_advantages.append(advantage)
    return torch.stack(reversed_advantages[::-1], dim=1)


def lambda_returns(values: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
    """Return the lambda-returns, Sutton and Barto (2018), section 12.1. All tensors are [B, T].

        G_t = v(s_t) + A_t(v)

    In PPO and in ACTDE, they are the regression target of v and of q. `advantages` must be relative to v, whichever
    baseline the policy uses.
    """
    return torch.where(mask, values + advantages, 0.0)


def whiten(x: Tensor, mask: Tensor, all_reduce: AllReduce = no_reduce, *, eps: float = 1e-8) -> Tensor:
    """Normalize x [B, T] to mean 0 and variance 1 over all choices of all processes.

        (x - mean) / sqrt(variance + eps),   variance = mean of (x - mean)^2

    The mean and the variance are computed in two passes, so that a large mean costs no precision. If all x are equal,
    the result is 0. Hazard: TD errors that should vanish, as in ACTDE, are rescaled to variance 1 however small they
    are.
    """
    mean, variance = _moments(x, mask, all_reduce)
    return torch.where(mask, (x - mean) * torch.rsqrt(variance + eps), 0.0)


def explained_variance(predictions: Tensor, returns: Tensor, mask: Tensor, all_reduce: AllReduce = no_reduce) -> Tensor:
    """Return the share of the variance of the returns that the predictions explain, a scalar over all processes.

        1 - Var(G - prediction) / Var(G)

    Both inputs are [B, T]. A share of 1 means exact predictions; 0 means predictions no better than a constant. If the
    returns do not vary, the share is 0 by convention.
    """
    _, total = _moments(returns, mask, all_reduce)
    _, residual = _moments(returns - predictions, mask, all_reduce)
    return torch.where(total > 0, 1.0 - residual / total.clamp(min=torch.finfo(total.dtype).tiny), 0.0)


def _moments(x: Tensor, mask: Tensor, all_reduce: AllReduce) -> tuple[Tensor, Tensor]:
    """Return the mean and the (biased) variance over all choices of all processes; 0 and 0 without choices."""
    count = all_reduce(mask.sum().to(x.dtype)).clamp(min=1.0)
    mean = all_reduce(torch.where(mask, x, 0.0).sum()) / count
    return mean, all_reduce(torch.where(mask, (x - mean).square(), 0.0).sum()) / count
