"""Expected updates of ACTDE on tables of logits and q. As in training, the logits follow the gradient of log pi.

pi is a softmax of logits, and the vectors below hold one number per action of a state. G is the return, Q = Q^pi is the
mean of G, A = Q - q is the expected error of ACTDE, and <x> = sum_a pi(a) x(a) is the mean of a vector x under pi.
Tests check all statements on random MDPs.

**Rest points.** The expected step of the logits is E[(G - q(a)) grad log pi(a)] = pi (A - <A>), element by element. The
step is 0 if A is constant over the actions. Hence every pair (pi, q = Q^pi) is a rest point of ACTDE, in any MDP. The
rule of `actde/tabular.py` moves only the logit of the taken action, by pi A in expectation. That rule rests only at
A = 0.

**Link to PPO with a KL penalty.** If q = c(s) + tau log(pi / pi_ref) for any c, ACTDE's expected step is that of the
policy gradient with the penalty tau KL(pi || pi_ref), in every state and for any parameters of pi:

    E[(Q - q) grad log pi] = E[Q grad log pi] - tau grad KL(pi || pi_ref).

Proof: grad KL = sum_a grad pi(a) log(pi / pi_ref)(a) + sum_a grad pi(a), and the second sum is 0. Since grad pi =
pi grad log pi, tau grad KL = E[tau log(pi / pi_ref) grad log pi] = E[(q - c) grad log pi] = E[q grad log pi].

**The limit.** The step of the penalised policy gradient is pi (A - <A>) with A = Q - tau log(pi / pi_ref). This step is
0 only if A is constant over the actions, that is pi = pi_ref exp(Q / tau) / Z. The same argument applies to ACTDE if
logits - logits_0 = (b / alpha) (q - q_0), which is the invariant of `actde/tabular.py`.

**The gradient of log pi breaks the invariant.** In expectation, the logits move by b pi (A - <A>), and q moves by
alpha pi A. Hence (step of q) - (alpha / b) (step of the logits) = alpha pi <A>. This difference is constant over the
actions only if <A> = 0 or pi is uniform.

**A centred q restores the invariant.** Let q(s, a) = v(s) + h(s, a) - sum_k pi(k|s) h(s, k), where no gradient flows
through pi. Let e_a be the vector that is 1 at a and 0 elsewhere. The gradient of q(s, a) with respect to h is then
e_a - pi. The gradient of log pi(a | s) with respect to the logits is also e_a - pi. Every sample thus gives the steps

    logits <- logits + b error (e_a - pi)        h <- h + alpha error (e_a - pi)

and logits - logits_0 = (b / alpha) (h - h_0) holds after every step, for any v, in any MDP. If q = Q^pi at the end,
then pi is proportional to pi_0 exp((Q^pi - h_0) / tau) with tau = alpha / b.
"""

from typing import Literal

import torch
from torch import Tensor

QForm = Literal["none", "table", "dueling", "centred"]


def policy_step(policy: Tensor, advantages: Tensor) -> Tensor:
    """Return the policy gradient with respect to the logits, E[advantage(a) grad log pi(a)].

    All shapes are [..., A] for A actions. If the advantages are log(pi / pi_ref), this is the gradient of
    KL(pi || pi_ref).
    """
    return policy * centred(policy, advantages)


def limit(reference: Tensor, q: Tensor, tau: float) -> Tensor:
    """Return the policy pi_ref exp(q / tau) / Z, where Z normalises it. Shapes are [..., A] for A actions.

    If q = Q^pi, then the policy gradient with the penalty tau KL(pi || pi_ref) is 0 only if pi is this policy.
    """
    return (reference.log() + q / tau).softmax(-1)


def centred(policy: Tensor, h: Tensor) -> Tensor:
    """Return h minus the mean of h under the policy. Shapes are [..., A] for A actions."""
    return h - (policy * h).sum(-1, keepdim=True)


def train_bandit(
    start: Tensor, means: Tensor, *, b: float, alpha: float, steps: int, value_step: float = 1.0, form: QForm = "table"
) -> Tensor:
    """Return the policy over the A arms of a bandit after `steps` expected steps of ACTDE. The shape is [A].

    Args:
        start: [A] the initial policy.
        means: [A] the mean reward of each arm.
        b, alpha, value_step: step sizes of the logits, of q and of v.
        form: how q is computed. "table": an entry per action. "dueling": v + h, where v is learned separately.
            "centred": v + h minus the policy's mean of h. "none": q = 0, which is the plain policy gradient.
    """
    logits, h, value = start.log(), torch.zeros_like(start), torch.zeros_like(start[0])
    for _ in range(steps):
        policy = logits.softmax(-1)
        q = {"none": 0 * h, "table": h, "dueling": value + h, "centred": value + centred(policy, h)}[form]
        errors = means - q
        step = policy_step(policy, errors)
        h = h + alpha * (step if form == "centred" else policy * errors)
        logits = logits + b * step
        value = value + value_step * (policy @ means - value)
    return logits.softmax(-1)
