"""Expected updates of ACTDE on tables of logits and q. The logits follow the gradient of log pi.

pi is the softmax of the logits of a state, Q = Q^pi the expected return of its K actions, and A = Q - q the expected
error. <x> = sum_a pi(a) x(a) is the mean of x under pi. alpha and b are the step sizes of q and of the logits.
"""

from typing import Literal

import torch
from torch import Tensor

QForm = Literal["none", "table", "dueling", "centred"]


def policy_step(policy: Tensor, advantages: Tensor) -> Tensor:
    """Return the policy gradient with respect to the logits, [..., K].

        E[advantage(a) grad log pi(a)] = pi (advantage - <advantage>)

    For the advantages log(pi / pi_ref), this is the gradient of KL(pi || pi_ref).

    **Rest points.** The step is 0 if the advantages of all actions are equal. So every pair (pi, q = Q^pi) is a rest
    point of ACTDE. The rule of `actde/tabular.py` has the expected step pi A, which is 0 only at A = 0.

    **Link to PPO with a KL penalty.** If q = c(s) + tau log(pi / pi_ref) for any c, then

        E[(Q - q) grad log pi] = E[Q grad log pi] - tau grad KL(pi || pi_ref)

    Proof: grad KL = sum_a grad pi(a) log(pi / pi_ref)(a) + sum_a grad pi(a), and the second sum is 0. With grad pi = pi
    grad log pi, tau grad KL = E[tau log(pi / pi_ref) grad log pi] = E[(q - c) grad log pi] = E[q grad log pi].
    """
    return policy * centred(policy, advantages)


def limit_policy(reference: Tensor, q: Tensor, tau: float) -> Tensor:
    """Return the policy pi_ref exp(q / tau) / Z, [..., K], where Z normalises it.

    With the penalty tau KL(pi || pi_ref), the policy gradient is pi (x - <x>) with x = Q - tau log(pi / pi_ref). The
    gradient is 0 only if x is the same for all actions, that is, at pi = pi_ref exp(Q / tau) / Z.
    """
    return (reference.log() + q / tau).softmax(-1)


def centred(policy: Tensor, h: Tensor) -> Tensor:
    """Return h minus the mean of h under the policy, [..., K].

    The gradient of log pi breaks the invariant of `actde/tabular.py`. In expectation,

        (step of q) - (alpha / b) (step of the logits) = alpha pi A - alpha pi (A - <A>) = alpha pi <A>

    A centred q restores the invariant: q(s, a) = v(s) + h(s, a) - sum_k pi(k|s) h(s, k), without a gradient through pi.
    Let e_a be 1 at a and 0 elsewhere. The gradient of q(s, a) with respect to h is e_a - pi, and so is the gradient of
    log pi(a | s) with respect to the logits. Every sample thus gives the steps

        logits <- logits + b error (e_a - pi)        h <- h + alpha error (e_a - pi)

    and logits - logits_0 = (b / alpha) (h - h_0) after every step, for any v, in any MDP. If q = Q^pi at the end, then
    pi is proportional to pi_0 exp((Q^pi - h_0) / tau) with tau = alpha / b.
    """
    return h - (policy * h).sum(-1, keepdim=True)


def train_bandit(
    initial_policy: Tensor,
    means: Tensor,
    *,
    b: float,
    alpha: float,
    steps: int,
    value_step: float = 1.0,
    form: QForm = "table",
) -> Tensor:
    """Return the policy [K] over the K arms of a bandit after `steps` expected updates of ACTDE.

    Args:
        initial_policy: [K] the initial policy.
        means: [K] the mean reward of each arm.
        b, alpha, value_step: the step sizes of the logits, of q and of v.
        form: how q is computed. "table": an entry per action. "dueling": v + h. "centred": v + h minus the mean of h.
            "none": q = 0, which is the plain policy gradient.
    """
    logits, h, value = initial_policy.log(), torch.zeros_like(initial_policy), torch.zeros_like(initial_policy[0])
    for _ in range(steps):
        policy = logits.softmax(-1)
        q = {"none": 0 * h, "table": h, "dueling": value + h, "centred": value + centred(policy, h)}[form]
        errors = means - q
        step = policy_step(policy, errors)
        h = h + alpha * (step if form == "centred" else policy * errors)
        logits = logits + b * step
        value = value + value_step * (policy @ means - value)
    return logits.softmax(-1)
