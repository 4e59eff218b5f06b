"""Errors, advantages and returns: pure functions over [B, T] tensors, the mathematics of the post.

Time ranges: every tensor covers t = 0 .. T-1; what lies beyond the last choice is 0, except for the bootstrap
inside `next_values[:, T-1]`. Padding is False in `mask`, and everything is 0 there. No settings, no networks.
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
    """One-step errors against a baseline.

        delta_t(b) = r_t + gamma_t v(s_{t+1}) - b_t

    Sutton and Barto (2018), eq. 6.5, for b = v; the post's action-conditioned TD error for b = q(s_t, a_t).
    All arguments and the result are [B, T], t = 0 .. T-1.
    """
    return torch.where(mask, rewards + discounts * next_values - baseline, 0.0)


def lambda_advantages(errors: Tensor, discounts: Tensor, gae_lambda: float) -> Tensor:
    """Errors accumulated backwards in time.

        A_t = delta_t + gamma_t lambda A_{t+1},   A_T = 0

    Generalised advantage estimation, Schulman et al. (2016), eq. 16. `errors` is [B, T] and 0 on padding,
    `discounts` is [B, T]; the result is [B, T], 0 on padding. Nothing flows over gamma_t = 0: what follows a
    terminated episode never reaches it.
    """
    later = torch.zeros_like(errors[:, 0])
    backwards = []
    for t in range(errors.shape[1] - 1, -1, -1):
        later = errors[:, t] + discounts[:, t] * gae_lambda * later
        backwards.append(later)
    return torch.stack(backwards[::-1], dim=1)


def lambda_returns(values: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
    """The target of v and of q, in PPO and in ACTDE alike.

        G_t = v(s_t) + A_t(v)

    Sutton and Barto (2018), section 12.1. `advantages` are those of the baseline v, whatever the policy uses.
    All [B, T], t = 0 .. T-1.
    """
    return torch.where(mask, values + advantages, 0.0)


def whiten(x: Tensor, mask: Tensor, all_reduce: AllReduce = no_reduce, *, eps: float = 1e-8) -> Tensor:
    """x with mean 0 and standard deviation 1 over all choices of all processes; 0 on padding.

        (x - mean) / sqrt(variance + eps),   variance = mean of (x - mean)^2

    Two passes, so that a large mean costs no digits. Equal x give 0. Note what it does to an error that is
    meant to vanish: divided by its own spread it never does. `x`, `mask` and the result are [B, T].
    """
    mean, variance = _moments(x, mask, all_reduce)
    return torch.where(mask, (x - mean) * torch.rsqrt(variance + eps), 0.0)


def explained_variance(predictions: Tensor, returns: Tensor, mask: Tensor, all_reduce: AllReduce = no_reduce) -> Tensor:
    """How much of the spread of the returns a prediction explains.

        1 - Var(G - prediction) / Var(G)

    1 is perfect, 0 is a constant, below 0 is worse than a constant; 0 by convention where the returns do not
    vary. Arguments are [B, T], the result is a scalar, over all processes.
    """
    _, total = _moments(returns, mask, all_reduce)
    _, rest = _moments(returns - predictions, mask, all_reduce)
    return torch.where(total > 0, 1.0 - rest / total.clamp(min=torch.finfo(total.dtype).tiny), 0.0)


def _moments(x: Tensor, mask: Tensor, all_reduce: AllReduce) -> tuple[Tensor, Tensor]:
    """Mean and variance (divided by the number) over all choices of all processes; 0, 0 without any."""
    count = all_reduce(mask.sum().to(x.dtype)).clamp(min=1.0)
    mean = all_reduce(torch.where(mask, x, 0.0).sum()) / count
    return mean, all_reduce(torch.where(mask, (x - mean).square(), 0.0).sum()) / count
