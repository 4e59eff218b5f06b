"""Losses of single choices, functions from [B, T] to [B, T], to be minimised; and the mean over choices."""

import torch
from torch import Tensor


def masked_mean(x: Tensor, mask: Tensor, count: float | Tensor | None = None) -> Tensor:
    """Sum of x over the choices, divided by `count` (default: the number of choices); a scalar.

    With the count of the whole batch, the results of its micro-batches add up to the mean of the batch.

    Raises:
        ValueError: `count` is not above 0.
    """
    count = mask.sum() if count is None else count
    if not count > 0:
        raise ValueError(f"a mean needs at least one choice, got count {count}")
    return torch.where(mask, x, 0.0).sum() / count


def clipped_surrogate(ratio: Tensor, advantages: Tensor, clip_range: float) -> Tensor:
    """Policy loss of PPO.

        -min(ratio A, clip(ratio, 1 - clip_range, 1 + clip_range) A)

    Schulman et al. (2017), eq. 7, with ratio_t = pi(a_t | s_t) / pi_old(a_t | s_t). At ratio 1 the gradient is the
    policy gradient, -A grad log pi. All [B, T].
    """
    clipped = ratio.clamp(1.0 - clip_range, 1.0 + clip_range)
    return torch.max(-advantages * ratio, -advantages * clipped)


def clipped_value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip_range: float | None) -> Tensor:
    """Value loss of PPO.

        1/2 max((v - G)^2, (clip(v, v_old - clip_range, v_old + clip_range) - G)^2)

    As in OpenAI's baselines. Without a clip range: half the squared error. All [B, T], reward squared.
    """
    squares = (values - returns).square()
    if clip_range is None:
        return 0.5 * squares
    clipped = torch.clamp(values, old_values - clip_range, old_values + clip_range)
    return 0.5 * torch.max(squares, (clipped - returns).square())


def expectile_value_loss(values: Tensor, q_values: Tensor, expectile: float) -> Tensor:
    """Value loss of implicit Q-learning: v is fitted to an expectile of q over the actions taken.

        |tau - 1(q < v)| (q - v)^2

    Kostrikov et al. (2021), eq. 5; Snell et al. (2022) for language. tau = 1/2 gives half the squared error, tau -> 1
    the maximum of q. `q_values` is a fixed target without gradient. All [B, T], reward squared.
    """
    errors = q_values - values
    weight = (expectile - (errors < 0).to(errors.dtype)).abs()
    return weight * errors.square()


def q_loss(q_values: Tensor, returns: Tensor) -> Tensor:
    """Q loss: squared error to the return, summed over the heads.

        sum_h (q_h(s_t, a_t) - G_t)^2

    `q_values` is [B, T, H], `returns` and the result are [B, T], reward squared. Without the factor 1/2, as in the
    post's code: at equal coefficients the gradient of q is twice that of v.
    """
    return (q_values - returns.unsqueeze(-1)).square().sum(dim=-1)


def sampled_kl(log_ratio: Tensor) -> Tensor:
    """Unbiased, non-negative, low-variance estimate of KL(pi_old || pi) from one sample of pi_old.

        (ratio - 1) - log ratio,   log ratio = log pi - log pi_old

    Schulman (2020), "Approximating KL divergence", k3. All [B, T], nats.
    """
    return torch.expm1(log_ratio) - log_ratio
