"""Expected updates of ACTDE on tables of logits and q, for a state with K actions.

pi: the policy, which is the softmax of the logits
Q: the true values Q^pi of the actions
A: the expected errors Q - q
<x>: sum_a pi(a) x(a), the mean of x under pi
alpha, b: the step sizes of q and of the logits
"""

from typing import Literal

import torch
from torch import Tensor

QForm = Literal["none", "table", "dueling", "centred"]


def policy_step(policy: Tensor, advantages: Tensor) -> Tensor:
    """Return the policy gradient with respect to the logits, [..., K].

        E[advantage(a) grad log pi(a)] = pi (advantage - <advantage>)

    The gradient is 0 if all advantages are equal. If q = Q^pi, all expected advantages of ACTDE are 0, and so is the
    gradient of ACTDE.

    **KL penalty.** Let q = c + tau log(pi / pi_ref), where c depends only on the state. pi_ref is a reference policy.
    Then ACTDE has the gradient of PPO with a KL penalty:

        E[(Q - q) grad log pi] = E[Q grad log pi] - tau grad KL(pi || pi_ref)

    Proof: By the product rule, grad KL = sum_a grad pi(a) log(pi / pi_ref)(a) + sum_a grad pi(a). The second sum is 0,
    because probabilities sum to 1. Insert grad pi = pi grad log pi into the first sum. Then
    tau grad KL = E[tau log(pi / pi_ref) grad log pi] = E[(q - c) grad log pi]. The last expression equals
    E[q grad log pi], because E[grad log pi] = 0.
    """
    return policy * centred(policy, advantages)


def limit_policy(reference: Tensor, q: Tensor, tau: float) -> Tensor:
    """Return pi = pi_ref exp(q / tau), normalised, [..., K]. pi_ref is `reference`.

    Let q be the true action values Q. The policy gradient with the penalty tau KL(pi || pi_ref) is 0 only at this pi.

    Proof: With respect to the logits, the gradient is pi (x - <x>), where x = Q - tau log(pi / pi_ref) and <x> is the
    mean of x under pi. The gradient is 0 only if x is the same for all actions. Solve x = constant for pi.
    """
    return (reference.log() + q / tau).softmax(-1)


def centred(policy: Tensor, h: Tensor) -> Tensor:
    """Return h minus the mean of h under the policy, [..., K].

    The gradient of log pi breaks the invariant of `TabularACTDE`. On average,

        (step of q) - (alpha / b) (step of the logits) = alpha pi A - alpha pi (A - <A>) = alpha pi <A>

    The centred q(s, a) = v(s) + h(s, a) - sum_k pi(k | s) h(s, k), without a gradient through pi, restores the
    invariant. Let e_a be 1 at the action a and 0 elsewhere. The gradient of q(s, a) with respect to h is e_a - pi. The
    gradient of log pi(a | s) with respect to the logits is also e_a - pi. A TD error `error` thus gives the steps

        logits <- logits + b error (e_a - pi)        h <- h + alpha error (e_a - pi)

    Let logits_0 and h_0 be the initial tables, and pi_0 the initial policy. After every step,
    logits - logits_0 = (b / alpha) (h - h_0). If q = Q^pi at the end, then pi is proportional to
    pi_0 exp((Q^pi - h_0) / tau) with tau = alpha / b.
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
    """Return the policy [K] of a bandit with K arms after `steps` expected updates of ACTDE.

    Args:
        means: [K] the mean reward of each arm.
        b, alpha, value_step: the step sizes of the logits, of q and of v.
        form: the formula of q, given tables h and v. "none": 0. "table": h. "dueling": v + h. "centred": v + h minus
            the mean of h.
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
