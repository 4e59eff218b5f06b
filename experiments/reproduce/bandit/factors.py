"""The post's random note 2.2: the effect of a factor of all rewards on the policy to which ACTDE converges."""

import math
from functools import partial

import numpy as np
from scipy.special import softmax
from scipy.stats import entropy

from actde.tabular import TabularACTDE
from experiments.reproduce.bandit.appendix import Bandits, Row, converged, distance
from experiments.reproduce.finding import RANDOM_NOTES, Finding, claim
from experiments.reproduce.statistics import SAME, all_zero, judge


def findings(bandits: Bandits, rng: np.random.Generator) -> list[Finding]:
    even, other, tilted = powers(bandits, rng)
    above, below = extremes(bandits, rng)
    same = partial(
        claim,
        section=RANDOM_NOTES,
        criterion=f"In {len(bandits)} random bandits, c from 0.2 to 4, no probability differs by {SAME:g}.",
    )
    extreme = partial(
        claim,
        section=RANDOM_NOTES,
        criterion=f"In all of {len(bandits)} random bandits, the entropy with c is lower than without.",
    )
    power = "A factor c of all rewards raises the policy to its c-th power, renormalized"
    largest, share = "(largest difference in random bandits)", "(share of random bandits in which the entropy falls)"
    return [
        same("bandit.appendix.factor", f"{power}, from a uniform pi_0 {largest}.", **all_zero(even)),
        same("bandit.appendix.factor-any", f"{power}, from any pi_0 {largest}.", **all_zero(other)),
        same(
            "bandit.appendix.factor-tilt",
            f"For any pi_0, the result is pi_0 times the c-th power of pi / pi_0, renormalized {largest}.",
            of_post=False,
            **all_zero(tilted),
        ),
        extreme(
            "bandit.appendix.extremize-above",
            f"A factor c above 1 makes the policy's probabilities more extreme, from a uniform pi_0 {share}.",
            **judge(float(np.mean(above)), all(above)),
        ),
        extreme(
            "bandit.appendix.extremize-below",
            f"... and so does any positive c, as the post words it: c from 0.25 to 0.91 {share}.",
            of_post=False,
            **judge(float(np.mean(below)), all(below)),
        ),
        same(
            "bandit.appendix.temperature",
            "A factor c is equivalent to a temperature of 1 / c of the softmax over rewards, from a uniform pi_0"
            f" {largest}.",
            **all_zero(temperatures(bandits, rng)),
        ),
    ]


def powers(bandits: Bandits, rng: np.random.Generator) -> tuple[list[float], list[float], list[float]]:
    """Rewards times c against the c-th power of the policy: from a uniform one, from any, and tilted by the initial one.

    Returns:
        The largest difference of probabilities in each bandit, three times.
    """
    even, other, tilted = [], [], []
    for rewards, start in bandits:
        c = float(rng.uniform(0.2, 4))
        even.append(distance(multiplied(rewards, c), raised(multiplied(rewards, 1), c)))
        first, one = TabularACTDE({0: start}).policy(0), converged(rewards, start).policy(0)
        many = converged({arm: c * reward for arm, reward in rewards.items()}, start).policy(0)
        other.append(distance(many, raised(one, c)))
        tilt = raised({arm: one[arm] / first[arm] for arm in one}, c)
        tilted.append(distance(many, raised({arm: first[arm] * tilt[arm] for arm in one}, 1)))
    return even, other, tilted


def raised(policy: Row, c: float) -> Row:
    """The c-th power, renormalized."""
    weights = {arm: math.exp(c * math.log(p)) for arm, p in policy.items()}
    return {arm: weight / sum(weights.values()) for arm, weight in weights.items()}


def multiplied(rewards: Row, c: float) -> Row:
    """The policy to which ACTDE converges from the uniform one, with all rewards times c."""
    return converged({arm: c * reward for arm, reward in rewards.items()}, dict.fromkeys(rewards, 0.0)).policy(0)


def extremes(bandits: Bandits, rng: np.random.Generator) -> tuple[list[bool], list[bool]]:
    """Whether the entropy falls with factors c above 1, and 1 / c, from a uniform policy, for each bandit."""
    above, below = [], []
    for rewards, _ in bandits:
        c, plain = float(rng.uniform(1.1, 4)), entropy(list(multiplied(rewards, 1).values()))
        for falls, factor in ((above, c), (below, 1 / c)):
            falls.append(bool(entropy(list(multiplied(rewards, factor).values())) < plain))
    return above, below


def temperatures(bandits: Bandits, rng: np.random.Generator) -> list[float]:
    """Largest differences between a factor c and the softmax over the unchanged rewards at temperature 1 / c."""
    differences = []
    for rewards, _ in bandits:
        tau = 1 / float(rng.uniform(0.2, 4))
        soft = softmax(np.array(list(rewards.values())) / tau)
        differences.append(distance(multiplied(rewards, 1 / tau), dict(zip(rewards, soft.tolist(), strict=True))))
    return differences
