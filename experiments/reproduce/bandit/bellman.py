"""Test a claim of the post by Turner and Einhorn (2023) about Q-functions that satisfy the Bellman equation.

The post says that "self-consistent, Bellman-backed-up Q-functions will have zero advantage and zero updates". Tables
of v and q are called consistent if they are the exact values of the current policy.

In a deterministic MDP the claim is true of the first step, because r + gamma v(s') equals q(s, a). If rewards are
random, only the mean error is zero. After the first step, the claim fails even in a deterministic MDP. v learns from
the actions that were sampled, and therefore moves away from the policy's mean of q. As a result, preceding states have
nonzero errors again.

This cause of errors disappears if v is always set to the policy's mean of q. But the consistent tables may be an
unstable fixed point. If a q-value rises by chance, its action becomes more likely. This may raise v, which raises q
again. To first order, a disturbance dq changes q at a rate proportional to M (F - I) dq. Here F is the derivative of
q's targets with respect to q, I is the identity, and M is the diagonal matrix of visit frequencies. Disturbances grow
if M (F - I) has an eigenvalue with a positive real part. The values are bounded, so the growth ends, at another policy.
"""

from dataclasses import replace

import numpy as np

from actde.tabular import TabularACTDE
from experiments.reproduce.bandit.mdp import (
    MDP,
    ExpectedACTDE,
    Logits,
    advance,
    initial_logits,
    learn_on_policy,
    make_consistent,
    random_mdp,
)
from experiments.reproduce.finding import Measurement
from experiments.reproduce.statistics import SAME, all_zero, judge, over_seeds

NUDGE, FAR = 1e-3, 0.05  # standard deviation of a disturbance of q, and an error that is too large for it alone


def measure(rng: np.random.Generator, *, quick: bool) -> dict[str, Measurement]:
    """Measure the TD errors of learners that start with consistent tables, in the first step and later.

    The module's docstring defines consistent tables.
    """
    count, steps = (6, 300) if quick else (100, 5000)
    first, noisy, later, unstable = [], [], [], []
    for _ in range(count):
        logits = initial_logits(mdp := random_mdp(rng, 0.9), rng)
        first.append(float(np.abs(first_errors(mdp, logits, rng)).max()))
        noisy.append(first_errors(replace(mdp, noise=1.0), logits, rng))
        later.append(later_error(mdp, logits, steps, rng))
        unstable.append(diverges(mdp, logits, steps, rng))
    mean = over_seeds([float(np.mean(errors)) for errors in noisy])
    spread = over_seeds([float(np.sqrt(np.mean(np.square(errors)))) for errors in noisy])
    return {
        "bellman.first": all_zero(first),
        "bellman.noisy-mean": judge(mean, mean["low"] <= 0 <= mean["high"]),
        "bellman.noisy": judge(spread, spread["high"] < SAME),
        "bellman.later": judge(over_seeds(later), max(later) < SAME),
        "bellman.stable": judge(over_seeds(unstable, unit=True), not any(unstable)),
    }


def later_error(mdp: MDP, logits: Logits, steps: int, rng: np.random.Generator) -> float:
    """Train ACTDE from consistent tables, and return the root mean square TD error of the last half of the steps.

    In consistent tables, v and q are the exact values of the current policy.
    """
    errors = advance(learn_on_policy(make_consistent(TabularACTDE(logits, alpha=0.1, b=0.1), mdp), mdp, rng), steps)
    return float(np.sqrt(np.mean(errors[steps // 2 :] ** 2)))


def diverges(mdp: MDP, logits: Logits, steps: int, rng: np.random.Generator) -> bool:
    """Return whether a small disturbance of q leads to errors above `FAR` if v is always the policy's mean of q."""
    learner = make_consistent(ExpectedACTDE(logits, alpha=0.1, b=0.1), mdp)
    for row in learner.q_values.values():
        for action in row:
            row[action] += rng.normal(0, NUDGE)
    return bool(np.abs(advance(learn_on_policy(learner, mdp, rng), steps)).max() > FAR)


def first_errors(mdp: MDP, logits: Logits, rng: np.random.Generator) -> list[float]:
    """Return the TD error of each action in each state, for a learner with consistent tables.

    In consistent tables, v and q are the exact values of the current policy. Each error is that of a new learner, whose
    tables have not been changed by another step.
    """
    return [
        make_consistent(TabularACTDE(logits), mdp).learn(mdp.step(state, action, rng))
        for state, action in np.ndindex(mdp.rewards.shape)
    ]
