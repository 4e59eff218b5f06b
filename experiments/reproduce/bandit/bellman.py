"""The post's "self-consistent, Bellman-backed-up Q-functions will have zero advantage and zero updates".

In a deterministic MDP this holds at the first step, where r + gamma v(s') is q(s, a). With random rewards, errors are
zero only in the mean. And v, which learns from the actions that were taken, moves away from the policy's mean of q at
once, so that errors return in the states before.

If v is kept at the policy's mean of q, errors do not return in this way, but consistent tables may be unstable: a q
that rises by chance makes its action more likely, which may raise v, and q again. To first order q moves by
M (F - 1) dq, where F is the derivative of q's targets by q and M how often each entry is visited. With an eigenvalue
of positive real part, any disturbance grows until the tables, which are bounded, belong to another policy.
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

NUDGE, FAR = 1e-3, 0.05
"""Standard deviation of a disturbance of q, and an error that is too large to come from it."""


def measure(rng: np.random.Generator, *, quick: bool) -> dict[str, Measurement]:
    """The first error of every action, starting from tables that are consistent with the policy, and later errors."""
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
    """Root mean square of the errors in the second half of `steps` steps from consistent tables."""
    learner = TabularACTDE(logits, alpha=0.1, b=0.1)
    make_consistent(learner, mdp)
    errors = advance(learn_on_policy(learner, mdp, rng), steps)
    return float(np.sqrt(np.mean(errors[steps // 2 :] ** 2)))


def diverges(mdp: MDP, logits: Logits, steps: int, rng: np.random.Generator) -> bool:
    """Whether errors grow far beyond a disturbance of q in consistent tables."""
    learner = ExpectedACTDE(logits, alpha=0.1, b=0.1)
    make_consistent(learner, mdp)
    for row in learner.q_values.values():
        for action in row:
            row[action] += rng.normal(0, NUDGE)
    return bool(np.abs(advance(learn_on_policy(learner, mdp, rng), steps)).max() > FAR)


def first_errors(mdp: MDP, logits: Logits, rng: np.random.Generator) -> list[float]:
    """The error of every action in every state, each from consistent tables."""
    errors = []
    for state, row in logits.items():
        for action in row:
            learner = TabularACTDE(logits)
            make_consistent(learner, mdp)
            errors.append(learner.learn(mdp.step(state, action, rng)))
    return errors
