"""The post's random note 2.2: the effect of a factor of all rewards on the policy to which ACTDE converges."""

import math

import numpy as np
from scipy.special import softmax
from scipy.stats import entropy

from actde.tabular import TabularACTDE
from experiments.reproduce.bandit.appendix import Bandits, Row, converged, distance
from experiments.reproduce.finding import Measurement
from experiments.reproduce.statistics import all_zero, judge


def measure(bandits: Bandits, rng: np.random.Generator) -> dict[str, Measurement]:
    count = str(len(bandits))
    uniform, other, tilted = powers(bandits, rng)
    above, below = extremes(bandits, rng)
    return {
        "appendix.factor": all_zero(uniform, count=count),
        "appendix.factor-any": all_zero(other, count=count),
        "appendix.factor-tilt": all_zero(tilted, count=count),
        "appendix.extremize-above": judge(float(np.mean(above)), all(above), count=count),
        "appendix.extremize-below": judge(float(np.mean(below)), all(below), count=count),
        "appendix.temperature": all_zero(temperatures(bandits, rng), count=count),
    }


def powers(bandits: Bandits, rng: np.random.Generator) -> tuple[list[float], list[float], list[float]]:
    """The policy for rewards times c against a c-th power, as the largest difference of probabilities in each bandit.

    Returns:
        For the c-th power of the policy for the plain rewards, from a uniform initial policy and from any, and for the
        initial policy times the c-th power of the plain policy divided by it.
    """
    uniform, other, tilted = [], [], []
    for rewards, start in bandits:
        c = float(rng.uniform(0.2, 4))
        uniform.append(distance(multiplied(rewards, c), raised(multiplied(rewards, 1), c)))
        first, one = TabularACTDE({0: start}).policy(0), converged(rewards, start).policy(0)
        many = converged({arm: c * reward for arm, reward in rewards.items()}, start).policy(0)
        other.append(distance(many, raised(one, c)))
        tilt = raised({arm: one[arm] / first[arm] for arm in one}, c)
        tilted.append(distance(many, raised({arm: first[arm] * tilt[arm] for arm in one}, 1)))
    return uniform, other, tilted


def raised(policy: Row, c: float) -> Row:
    """The c-th power, renormalized."""
    weights = {arm: math.exp(c * math.log(p)) for arm, p in policy.items()}
    return {arm: weight / sum(weights.values()) for arm, weight in weights.items()}


def multiplied(rewards: Row, c: float) -> Row:
    """The policy to which ACTDE converges from the uniform one, with all rewards times c."""
    return converged({arm: c * reward for arm, reward in rewards.items()}, dict.fromkeys(rewards, 0.0)).policy(0)


def extremes(bandits: Bandits, rng: np.random.Generator) -> tuple[list[bool], list[bool]]:
    """Whether the entropy falls with factors c above 1, and 1 / c, from a uniform policy, for each bandit."""
    above: list[bool] = []
    below: list[bool] = []
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
