"""TD errors, advantages and returns: functions of [B, T] tensors, t = 0 .. T-1.

`mask` is False on padding, where every result is 0. Nothing follows the last choice but the bootstrap value in
`next_values[:, T-1]`.
"""

from collections.abc import Callable

import torch
from torch import Tensor

AllReduce = Callable[[Tensor], Tensor]
"""Sums a tensor over all processes."""


def no_reduce(tensor: Tensor) -> Tensor:
    """The `AllReduce` of a single process."""
    return tensor


def td_errors(rewards: Tensor, discounts: Tensor, next_values: Tensor, baseline: Tensor, mask: Tensor) -> Tensor:
    """One-step TD errors relative to a baseline b. All [B, T].

        delta_t(b) = r_t + gamma_t v(s_{t+1}) - b_t

    b_t = v(s_t) is the TD error (Sutton and Barto, 2018, eq. 6.5); b_t = q(s_t, a_t) is the action-conditioned TD error
    (Turner and Einhorn, 2023).
    """
    return torch.where(mask, rewards + discounts * next_values - baseline, 0.0)


def lambda_advantages(errors: Tensor, discounts: Tensor, gae_lambda: float) -> Tensor:
    """Generalized advantage estimation, Schulman et al. (2016), eq. 16. All [B, T].

        A_t = delta_t + gamma_t lambda A_{t+1},   A_T = 0

    `errors` is 0 on padding. gamma_t = 0 at the end of a terminated episode stops the sum there.
    """
    advantage = torch.zeros_like(errors[:, 0])
    reversed_advantages = []
    for t in range(errors.shape[1] - 1, -1, -1):
        advantage = errors[:, t] + discounts[:, t] * gae_lambda * advantage
        reversed_advantages.append(advantage)
    return torch.stack(reversed_advantages[::-1], dim=1)


def lambda_returns(values: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
    """Lambda-returns, the target of v and of q in PPO and in ACTDE. All [B, T].

        G_t = v(s_t) + A_t(v)

    Sutton and Barto (2018), section 12.1. `advantages` are those of the baseline v, whichever baseline the policy uses.
    """
    return torch.where(mask, values + advantages, 0.0)


def whiten(x: Tensor, mask: Tensor, all_reduce: AllReduce = no_reduce, *, eps: float = 1e-8) -> Tensor:
    """x [B, T] normalized to mean 0 and variance 1 over all choices of all processes.

        (x - mean) / sqrt(variance + eps),   variance = mean of (x - mean)^2

    Two passes, so that a large mean costs no precision. Equal x give 0. Hazard: an error that should vanish, as in
    ACTDE, is rescaled to variance 1 however small it is.
    """
    mean, variance = _moments(x, mask, all_reduce)
    return torch.where(mask, (x - mean) * torch.rsqrt(variance + eps), 0.0)


def explained_variance(predictions: Tensor, returns: Tensor, mask: Tensor, all_reduce: AllReduce = no_reduce) -> Tensor:
    """Share of the variance of the returns [B, T] that predictions [B, T] explain; a scalar over all processes.

        1 - Var(G - prediction) / Var(G)

    1: exact; 0: no better than a constant; 0 by convention if the returns do not vary.
    """
    _, total = _moments(returns, mask, all_reduce)
    _, residual = _moments(returns - predictions, mask, all_reduce)
    return torch.where(total > 0, 1.0 - residual / total.clamp(min=torch.finfo(total.dtype).tiny), 0.0)


def _moments(x: Tensor, mask: Tensor, all_reduce: AllReduce) -> tuple[Tensor, Tensor]:
    """Mean and (biased) variance over all choices of all processes; 0, 0 if there are none."""
    count = all_reduce(mask.sum().to(x.dtype)).clamp(min=1.0)
    mean = all_reduce(torch.where(mask, x, 0.0).sum()) / count
    return mean, all_reduce(torch.where(mask, (x - mean).square(), 0.0).sum()) / count
