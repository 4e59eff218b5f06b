"""The post's "self-consistent, Bellman-backed-up Q-functions will have zero advantage and zero updates".

In a deterministic MDP it is so at the first step: r + gamma v(s') is q(s, a). Where rewards are drawn, errors are
zero in the mean only. And v, learnt from the actions that were taken, leaves its mean at once, so that the errors
of the states before it come back.

Where v is the policy's mean of q they do not, but consistent tables may repel: a q that rises by chance makes its
action likelier, which may raise v, and q again. To first order q moves by M (F - 1) dq, F the derivative of q's targets
by q and M how often each entry is visited; an eigenvalue with a positive real part lets any nudge grow until the
tables, which are bounded, have found another policy.
"""

import numpy as np

from actde.tabular import TabularACTDE
from experiments.reproduce import finding
from experiments.reproduce.bandit.mdp import MDP, ExpectedACTDE, Logits, consistent, random_mdp, start, take, walk
from experiments.reproduce.finding import Finding
from experiments.reproduce.seeds import over_seeds

ACTDE = next(section for section in finding.SECTIONS if section.startswith("Action-"))
SAME = 1e-9
POSTS = ("first", "noisy-mean")
"""What the post says: its errors are expectations, of one step. That single errors, or later ones, vanish is added."""
NUDGE, FAR = 1e-3, 0.05
"""Standard deviation of a disturbance of q, and an error that it cannot explain."""


def findings(rng: np.random.Generator, *, quick: bool) -> list[Finding]:
    """From tables that are consistent with the policy: the first error of every action, and those that follow."""
    count, steps = (6, 300) if quick else (100, 5000)
    first, noisy, later, repelled = [], [], [], []
    for _ in range(count):
        logits = start(mdp := random_mdp(rng, 0.9), rng)
        stochastic = MDP(rewards=mdp.rewards, follows=mdp.follows, discount=0.9, noise=1.0)
        first.append(float(np.abs(first_errors(mdp, logits, rng)).max()))
        noisy.append(first_errors(stochastic, logits, rng))
        later.append(later_error(mdp, logits, steps, rng))
        repelled.append(leaves(mdp, logits, steps, rng))
    mean = over_seeds([float(np.mean(errors)) for errors in noisy])
    spread = over_seeds([float(np.sqrt(np.mean(np.square(errors)))) for errors in noisy])
    away, zero = over_seeds(repelled, unit=True), "No error is above 1e-9."
    found = (
        ("first", "the largest first error in deterministic MDPs", {"ours": max(first)}, max(first) < SAME, zero),
        (
            "noisy-mean",
            "the mean first error where rewards have noise of standard deviation 1",
            mean,
            mean["low"] <= 0 <= mean["high"],
            "The 95% interval over random MDPs contains 0.",
        ),
        ("noisy", "the root mean square of the same", spread, spread["high"] < SAME, zero),
        (
            "later",
            "the same of later errors in deterministic MDPs, v being learnt with a fixed step",
            over_seeds(later),
            max(later) < SAME,
            zero,
        ),
        (
            "stable",
            f"a disturbance of q by {NUDGE:g} dies out, v being the policy's mean of q (share of deterministic MDPs in"
            f" which an error above {FAR:g} comes)",
            away,
            not any(repelled),
            "There is no such MDP.",
        ),
    )
    claim = "Self-consistent, Bellman-backed-up Q-functions have zero advantage and zero updates"
    return [
        finding.claim(
            f"bandit.bellman.{name}",
            f"{claim}: {what}.",
            section=ACTDE,
            holds=holds,
            criterion=criterion,
            of_post=name in POSTS,
            **band,
        )
        for name, what, band, holds, criterion in found
    ]


def later_error(mdp: MDP, logits: Logits, steps: int, rng: np.random.Generator) -> float:
    """Root mean square of the errors in the second half of so many steps from consistent tables."""
    learner = TabularACTDE(logits, alpha=0.1, b=0.1)
    consistent(learner, mdp)
    errors = take(walk(learner, mdp, rng), steps)
    return float(np.sqrt(np.mean(errors[steps // 2 :] ** 2)))


def leaves(mdp: MDP, logits: Logits, steps: int, rng: np.random.Generator) -> bool:
    """Whether errors grow far beyond a nudge of q from consistent tables."""
    learner = ExpectedACTDE(logits, alpha=0.1, b=0.1)
    consistent(learner, mdp)
    for row in learner.q_values.values():
        for action in row:
            row[action] += rng.normal(0, NUDGE)
    return bool(np.abs(take(walk(learner, mdp, rng), steps)).max() > FAR)


def first_errors(mdp: MDP, logits: Logits, rng: np.random.Generator) -> list[float]:
    """The error of every action in every state, each from consistent tables."""
    errors = []
    for state, row in logits.items():
        for action in row:
            learner = TabularACTDE(logits)
            consistent(learner, mdp)
            errors.append(learner.learn(mdp.step(state, action, rng)))
    return errors
