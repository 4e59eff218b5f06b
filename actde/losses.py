"""Losses to be minimised, and their mean over choices. Tensors are [B, T], as in `actde.batch`."""

import torch
from torch import Tensor


def masked_mean(x: Tensor, mask: Tensor, count: float | Tensor | None = None) -> Tensor:
    """Return the sum of x where `mask` is True, divided by `count` > 0.

    By default, `count` is the number of True entries.
    """
    count = mask.sum() if count is None else count
    if not count > 0:
        raise ValueError(f"a mean needs at least one choice, got count {count}")
    return torch.where(mask, x, 0.0).sum() / count


def clipped_surrogate(ratio: Tensor, advantages: Tensor, clip_range: float) -> Tensor:
    """Return PPO's clipped policy loss for each element.

        -min(ratio A, clip(ratio, 1 - clip_range, 1 + clip_range) A)

    This is the negative of eq. 7 of Schulman et al. (2017), with the advantage A and ratio_t = pi(a_t | s_t) /
    pi_old(a_t | s_t).
    """
    clipped = ratio.clamp(1.0 - clip_range, 1.0 + clip_range)
    return torch.max(-advantages * ratio, -advantages * clipped)


def clipped_value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip_range: float | None) -> Tensor:
    """Return PPO's clipped value loss for each element, in units of reward squared.

        1/2 max((v - G)^2, (clip(v, v_old - clip_range, v_old + clip_range) - G)^2)

    G is the return. The equation follows OpenAI's `baselines` library. Without a clip range, the loss is half the
    squared error.
    """
    squares = (values - returns).square()
    if clip_range is None:
        return 0.5 * squares
    clipped = torch.clamp(values, old_values - clip_range, old_values + clip_range)
    return 0.5 * torch.max(squares, (clipped - returns).square())


def expectile_value_loss(values: Tensor, q_values: Tensor, expectile: float) -> Tensor:
    """Return the value loss of implicit Q-learning, Kostrikov et al. (2021), eq. 5.

        |tau - 1(q < v)| (q - v)^2,   tau = `expectile`

    The loss fits v to an expectile of q. As tau tends to 1, v tends to the maximum of q. `q_values` must have no
    gradient.
    """
    errors = q_values - values
    return (expectile - (errors < 0).to(errors.dtype)).abs() * errors.square()


def q_loss(q_values: Tensor, returns: Tensor) -> Tensor:
    """Return the squared error to the return, summed over the heads of `q_values` [B, T, H].

        sum_h (q_h(s_t, a_t) - G_t)^2

    Unlike the value loss, it has no factor 1/2, as in the code of the post by Turner and Einhorn (2023).
    """
    return (q_values - returns.unsqueeze(-1)).square().sum(dim=-1)


def sampled_kl(log_ratio: Tensor) -> Tensor:
    """Return an unbiased estimate of KL(pi_old || pi) in nats, from one action that pi_old sampled.

        (ratio - 1) - log ratio,   log ratio = log pi - log pi_old

    This is the estimator k3 in Schulman (2020), "Approximating KL Divergence". It is never negative.
    """
    return torch.expm1(log_ratio) - log_ratio
