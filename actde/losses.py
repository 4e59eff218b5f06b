"""Losses to be minimised, and their mean over choices.

Tensors have the shape [B, T]: B segments with up to T choices, which are the agent's actions (see `actde.batch`).
"""

import torch
from torch import Tensor


def masked_mean(x: Tensor, mask: Tensor, count: float | Tensor | None = None) -> Tensor:
    """Return the sum of x over the entries where `mask` is True, divided by `count` > 0.

    By default, `count` is the number of these entries, and the result is their mean.
    """
    count = mask.sum() if count is None else count
    if not count > 0:
        raise ValueError(f"a mean needs at least one choice, got count {count}")
    return torch.where(mask, x, 0.0).sum() / count


def clipped_surrogate(ratio: Tensor, advantages: Tensor, clip_range: float) -> Tensor:
    """Return the clipped policy loss of PPO for each element, without a mean.

        -min(ratio A, clip(ratio, 1 - clip_range, 1 + clip_range) A)

    This is the negative of eq. 7 of Schulman et al. (2017), with the advantage A and
    ratio_t = pi(a_t | s_t) / pi_old(a_t | s_t). At ratio 1, the gradient is -A grad log pi.
    """
    clipped = ratio.clamp(1.0 - clip_range, 1.0 + clip_range)
    return torch.max(-advantages * ratio, -advantages * clipped)


def clipped_value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip_range: float | None) -> Tensor:
    """Return the clipped value loss of PPO, in units of reward squared.

        1/2 max((v - G)^2, (clip(v, v_old - clip_range, v_old + clip_range) - G)^2)

    Here v is an element of `values`, v_old of `old_values` and G of `returns`. The equation follows OpenAI's
    `baselines` library. If `clip_range` is None, the loss is half the squared error.
    """
    squares = (values - returns).square()
    if clip_range is None:
        return 0.5 * squares
    clipped = torch.clamp(values, old_values - clip_range, old_values + clip_range)
    return 0.5 * torch.max(squares, (clipped - returns).square())


def expectile_value_loss(values: Tensor, q_values: Tensor, expectile: float) -> Tensor:
    """Return the value loss of implicit Q-learning. The loss fits v to an expectile of q over the actions taken.

        |tau - 1(q < v)| (q - v)^2

    This is eq. 5 of Kostrikov et al. (2021), with tau = `expectile`. 1(q < v) is 1 if q < v, and 0 otherwise. If
    tau = 1/2, the loss is half the squared error. As tau tends to 1, v tends to the maximum of q. `q_values` is a fixed
    target without gradient.
    """
    errors = q_values - values
    return (expectile - (errors < 0).to(errors.dtype)).abs() * errors.square()


def q_loss(q_values: Tensor, returns: Tensor) -> Tensor:
    """Return the Q loss: the squared error to the return, summed over the H heads.

        sum_h (q_h(s_t, a_t) - G_t)^2

    `q_values` is [B, T, H]. As in the code of the post by Turner and Einhorn (2023), there is no factor 1/2. At equal
    coefficients and errors, the gradient with respect to q is therefore twice the gradient with respect to v.
    """
    return (q_values - returns.unsqueeze(-1)).square().sum(dim=-1)


def sampled_kl(log_ratio: Tensor) -> Tensor:
    """Return an unbiased, non-negative, low-variance estimate of KL(pi_old || pi) from one sample of pi_old.

        (ratio - 1) - log ratio,   log ratio = log pi - log pi_old

    This is the estimator k3 in Schulman (2020), "Approximating KL Divergence". The estimate is in nats.
    """
    return torch.expm1(log_ratio) - log_ratio
