"""Expected updates of ACTDE on tables of logits and q, with the gradient of log pi that training uses.

pi is a softmax of logits, and the vectors below hold one number per action of a state. G is the return, Q = Q^pi is its
mean, A = Q - q is the expected error of ACTDE, and <x> = sum_a pi(a) x(a). Tests check all statements on random MDPs.

**Rest points.** The expected step of the logits is E[(G - q(a)) grad log pi(a)] = pi (A - <A>), element by element. The
step is 0 if A is constant over the actions. Hence every pair (pi, q = Q^pi) is a rest point of ACTDE, in any MDP. The
rule of `actde/tabular.py` moves only the logit of the taken action, by pi A in expectation. It rests only at A = 0.

**Link to PPO with a KL penalty.** If q = c(s) + tau log(pi / pi_ref) for any c, ACTDE's expected step is that of the
policy gradient with the penalty tau KL(pi || pi_ref), in every state and for any parameters of pi:

    E[(Q - q) grad log pi] = E[Q grad log pi] - tau grad KL(pi || pi_ref).

Proof: grad KL = sum_a grad pi(a) log(pi / pi_ref)(a) + sum_a grad pi(a), and the second sum is 0. Since grad pi =
pi grad log pi, tau grad KL = E[tau log(pi / pi_ref) grad log pi] = E[(q - c) grad log pi] = E[q grad log pi].

**The limit.** The step of the penalised policy gradient is pi (A - <A>) with A = Q - tau log(pi / pi_ref). This step is
0 only if A is constant over the actions, that is pi = pi_ref exp(Q / tau) / Z. If the invariant of `actde/tabular.py`
holds, ACTDE also rests only at such a policy.

**The gradient of log pi breaks the invariant.** In expectation, the logits move by b pi (A - <A>), and q moves by
alpha pi A. The step of q minus alpha / b times the step of the logits is alpha pi <A>. This difference is constant over
the actions only if <A> = 0 or pi is uniform.

**A centred q restores the invariant.** Let q(s, a) = v(s) + h(s, a) - sum_k pi(k|s) h(s, k), where pi counts as a
constant. The gradient of q(s, a) in h and that of log pi(a | s) in the logits are then both e_a - pi, where e_a is 1 at
a and 0 elsewhere. Every sample thus gives the steps

    logits <- logits + b error (e_a - pi)        h <- h + alpha error (e_a - pi)

and logits - logits_0 = (b / alpha) (h - h_0) holds after every step, for any v, in any MDP. If q = Q^pi at the end,
then pi is proportional to pi_0 exp((Q^pi - h_0) / tau) with tau = alpha / b.
"""

from typing import Literal

import torch
from torch import Tensor

QForm = Literal["none", "table", "dueling", "centred"]


def policy_step(policy: Tensor, advantages: Tensor) -> Tensor:
    """Return E[advantage(a) grad log pi(a)] with respect to the logits. All shapes are [..., A]."""
    return policy * centred(policy, advantages)


def kl_gradient(policy: Tensor, reference: Tensor) -> Tensor:
    """Return grad KL(policy || reference) with respect to the policy's logits. All shapes are [..., A]."""
    return policy_step(policy, (policy / reference).log())


def limit(reference: Tensor, q: Tensor, tau: float) -> Tensor:
    """Return the policy proportional to pi_ref exp(q / tau), the limit of the module docstring. Shapes are [..., A]."""
    return (reference.log() + q / tau).softmax(-1)


def centred(policy: Tensor, h: Tensor) -> Tensor:
    """Return h minus its mean under the policy. All shapes are [..., A]."""
    return h - (policy * h).sum(-1, keepdim=True)


def train_bandit(
    start: Tensor, means: Tensor, *, b: float, alpha: float, steps: int, value_step: float = 1.0, form: QForm = "table"
) -> Tensor:
    """Return the policy [A] over a bandit's arms after `steps` expected steps of ACTDE with the gradient of log pi.

    `start` is the initial policy [A], `means` are the mean rewards [A], and `value_step` is the step size of v. `form`
    is the form of q. table: an entry per action; dueling: v + h, where v is learned separately; centred: v + h minus
    the policy's mean of h; none: q = 0, which is the plain policy gradient.
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
