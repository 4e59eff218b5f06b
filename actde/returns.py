"""TD errors, advantages and returns, as tensors [B, T] (see `actde.batch`). Results are 0 on padding."""

from collections.abc import Callable

import torch
from torch import Tensor

AllReduce = Callable[[Tensor], Tensor]  # sums a tensor over all processes


def no_reduce(tensor: Tensor) -> Tensor:
    """Return `tensor`, the sum over a single process."""
    return tensor


def td_errors(rewards: Tensor, discounts: Tensor, next_values: Tensor, baseline: Tensor, mask: Tensor) -> Tensor:
    """Return the one-step TD errors. b_t is the baseline.

    delta_t = r_t + gamma_t v(s_{t+1}) - b_t
    """
    return torch.where(mask, rewards + discounts * next_values - baseline, 0.0)


def lambda_advantages(errors: Tensor, discounts: Tensor, gae_lambda: float) -> Tensor:
    """Return generalized advantage estimates, Schulman et al. (2016), eq. 16.

        A_t = delta_t + gamma_t lambda A_{t+1}

    `errors` holds the TD errors delta_t.
    """
    advantage = torch.zeros_like(errors[:, 0])
    reversed_advantages = []
    for t in range(errors.shape[1] - 1, -1, -1):
        advantage = errors[:, t] + discounts[:, t] * gae_lambda * advantage
        reversed_advantages.append(advantage)
    return torch.stack(reversed_advantages[::-1], dim=1)


def lambda_returns(values: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
    """Return the lambda-returns v(s_t) + A_t, Sutton and Barto (2018), section 12.1.

    The baseline of the advantages A_t must be v(s_t).
    """
    return torch.where(mask, values + advantages, 0.0)


def whiten(x: Tensor, mask: Tensor, all_reduce: AllReduce = no_reduce) -> Tensor:
    """Return x, normalized to mean 0 and variance 1 over the actions of all processes."""
    # whitened TD errors of ACTDE do not vanish, even if q is accurate
    mean, variance = _moments(x, mask, all_reduce)
    return torch.where(mask, (x - mean) * torch.rsqrt(variance + 1e-8), 0.0)


def explained_variance(predictions: Tensor, returns: Tensor, mask: Tensor, all_reduce: AllReduce = no_reduce) -> Tensor:
    """Return 1 - Var(G - prediction) / Var(G) for the returns G, or 0 if all returns are equal."""
    _, total = _moments(returns, mask, all_reduce)
    _, residual = _moments(returns - predictions, mask, all_reduce)
    return torch.where(total > 0, 1.0 - residual / total.clamp(min=torch.finfo(total.dtype).tiny), 0.0)


def _moments(x: Tensor, mask: Tensor, all_reduce: AllReduce) -> tuple[Tensor, Tensor]:
    """Return the mean and the biased variance of x over the actions of all processes."""
    # two passes, so that a large mean costs no precision
    count = all_reduce(mask.sum().to(x.dtype)).clamp(min=1.0)
    mean = all_reduce(torch.where(mask, x, 0.0).sum()) / count
    return mean, all_reduce(torch.where(mask, (x - mean).square(), 0.0).sum()) / count
