"""TD errors, advantages and returns. Tensors are [B, T], as in `actde.batch`.

`mask` is False on padding, and every result is 0 there.
"""

from collections.abc import Callable

import torch
from torch import Tensor

AllReduce = Callable[[Tensor], Tensor]  # sums a tensor over all processes


def no_reduce(tensor: Tensor) -> Tensor:
    """Return the tensor itself, which is the sum over a single process."""
    return tensor


def td_errors(rewards: Tensor, discounts: Tensor, next_values: Tensor, baseline: Tensor, mask: Tensor) -> Tensor:
    """Return the one-step TD errors relative to a baseline b.

        delta_t(b) = r_t + gamma_t v(s_{t+1}) - b_t

    With b_t = v(s_t), this is eq. 6.5 of Sutton and Barto (2018). With b_t = q(s_t, a_t), it is the action-conditioned
    TD error (Turner and Einhorn, 2023).
    """
    return torch.where(mask, rewards + discounts * next_values - baseline, 0.0)


def lambda_advantages(errors: Tensor, discounts: Tensor, gae_lambda: float) -> Tensor:
    """Return the generalized advantage estimates, Schulman et al. (2016), eq. 16.

        A_t = delta_t + gamma_t lambda A_{t+1},   A_T = 0

    `errors` holds delta_t, which is 0 on padding, and `discounts` holds gamma_t.
    """
    advantage = torch.zeros_like(errors[:, 0])
    reversed_advantages = []
    for t in range(errors.shape[1] - 1, -1, -1):
        advantage = errors[:, t] + discounts[:, t] * gae_lambda * advantage
        reversed_advantages.append(advantage)
    return torch.stack(reversed_advantages[::-1], dim=1)


def lambda_returns(values: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
    """Return the lambda-returns, Sutton and Barto (2018), section 12.1.

        G_t = v(s_t) + A_t(v)

    `advantages` must be relative to the baseline v.
    """
    return torch.where(mask, values + advantages, 0.0)


def whiten(x: Tensor, mask: Tensor, all_reduce: AllReduce = no_reduce) -> Tensor:
    """Return x, normalized to mean 0 and variance 1 over the choices of all processes.

        (x - mean) / sqrt(variance + 1e-8),   variance = mean of (x - mean)^2

    Hazard: the whitened TD errors of ACTDE do not vanish.
    """
    mean, variance = _moments(x, mask, all_reduce)
    return torch.where(mask, (x - mean) * torch.rsqrt(variance + 1e-8), 0.0)


def explained_variance(predictions: Tensor, returns: Tensor, mask: Tensor, all_reduce: AllReduce = no_reduce) -> Tensor:
    """Return the share of the returns' variance that the predictions explain, as a scalar.

        1 - Var(G - prediction) / Var(G)

    G is the return. The share is 0 if the returns do not vary.
    """
    _, total = _moments(returns, mask, all_reduce)
    _, residual = _moments(returns - predictions, mask, all_reduce)
    return torch.where(total > 0, 1.0 - residual / total.clamp(min=torch.finfo(total.dtype).tiny), 0.0)


def _moments(x: Tensor, mask: Tensor, all_reduce: AllReduce) -> tuple[Tensor, Tensor]:
    """Return the mean and the biased variance of x over the choices of all processes."""
    # two passes, so that a large mean costs no precision
    count = all_reduce(mask.sum().to(x.dtype)).clamp(min=1.0)
    mean = all_reduce(torch.where(mask, x, 0.0).sum()) / count
    return mean, all_reduce(torch.where(mask, (x - mean).square(), 0.0).sum()) / count
