"""The post's random note 2.2: what a factor of all rewards does to the policy at which ACTDE ends.

Leaves out shifts of the reward and the step of q (appendix.py).
"""

import math

import numpy as np
from scipy.special import softmax
from scipy.stats import entropy

from actde.tabular import TabularACTDE
from experiments.reproduce import finding
from experiments.reproduce.bandit.appendix import SAME, SECTION, Bandits, Row, converged, distance
from experiments.reproduce.finding import Finding


def findings(bandits: Bandits, rng: np.random.Generator) -> list[Finding]:
    return [*factor(bandits, rng), *extremes(bandits, rng), temperature(bandits, rng)]


def factor(bandits: Bandits, rng: np.random.Generator) -> list[Finding]:
    """All rewards times c: the c-th power of the policy, where the initial one is uniform."""
    even, other, right = [], [], []
    for rewards, start in bandits:
        c = float(rng.uniform(0.2, 4))
        times = {arm: c * reward for arm, reward in rewards.items()}
        flat = dict.fromkeys(start, 0.0)
        one, many = converged(rewards, flat).policy(0), converged(times, flat).policy(0)
        even.append(distance(many, powered(one, c)))
        first, one, many = (
            TabularACTDE({0: start}).policy(0),
            *(converged(found, start).policy(0) for found in (rewards, times)),
        )
        other.append(distance(many, powered(one, c)))
        tilt = powered({arm: one[arm] / first[arm] for arm in one}, c)
        right.append(distance(many, powered({arm: first[arm] * tilt[arm] for arm in one}, 1)))
    power = "A factor c of all rewards takes the policy to its c-th power, renormalised"
    return [
        finding.claim(
            f"bandit.appendix.{name}",
            f"{claim} (largest difference over random bandits).",
            section=SECTION,
            of_post=name != "factor-tilt",
            ours=max(values),
            holds=max(values) < SAME,
            criterion=f"In none of {len(bandits)} random bandits, c from 0.2 to 4, is a probability off by {SAME:g}.",
        )
        for name, claim, values in (
            ("factor", f"{power}, from a uniform pi_0", even),
            ("factor-any", f"{power}, from any pi_0", other),
            ("factor-tilt", "What holds for any pi_0: pi_0 times the c-th power of pi / pi_0, renormalised", right),
        )
    ]


def powered(policy: Row, c: float) -> Row:
    """The c-th power, renormalised."""
    weights = {arm: math.exp(c * math.log(p)) for arm, p in policy.items()}
    return {arm: weight / sum(weights.values()) for arm, weight in weights.items()}


def multiplied(rewards: Row, c: float) -> Row:
    """The policy at which ACTDE ends from a uniform one, all rewards times c."""
    return converged({arm: c * reward for arm, reward in rewards.items()}, dict.fromkeys(rewards, 0.0)).policy(0)


def extremes(bandits: Bandits, rng: np.random.Generator) -> list[Finding]:
    """Factors c above 1 and 1/c below 1, of rewards, from a uniform policy: does the entropy fall?"""
    falls: dict[str, list[bool]] = {"above": [], "below": []}
    for rewards, _ in bandits:
        c, plain = float(rng.uniform(1.1, 4)), entropy(list(multiplied(rewards, 1).values()))
        for name, times in (("above", c), ("below", 1 / c)):
            falls[name].append(bool(entropy(list(multiplied(rewards, times).values())) < plain))
    return [
        finding.claim(
            f"bandit.appendix.extremize-{name}",
            f"{claim} (share of random bandits in which the entropy falls, from a uniform pi_0).",
            section=SECTION,
            of_post=name == "above",
            ours=float(np.mean(falls[name])),
            holds=all(falls[name]),
            criterion=f"In all of {len(bandits)} random bandits the entropy with c is lower than without.",
        )
        for name, claim in (
            ("above", "A factor c above 1 extremizes the policy's probabilities"),
            ("below", "... and so does any positive c, as the post's words are: c from 0.25 to 0.91"),
        )
    ]


def temperature(bandits: Bandits, rng: np.random.Generator) -> Finding:
    """A factor c against the softmax over the rewards as they are, at the temperature 1 / c."""
    off = []
    for rewards, _ in bandits:
        tau = 1 / float(rng.uniform(0.2, 4))
        soft = softmax(np.array(list(rewards.values())) / tau)
        off.append(distance(multiplied(rewards, 1 / tau), dict(zip(rewards, soft.tolist(), strict=True))))
    return finding.claim(
        "bandit.appendix.temperature",
        "A factor c is equivalent to a temperature of 1 / c of the softmax over rewards, from a uniform pi_0 (largest"
        " difference over random bandits).",
        section=SECTION,
        ours=max(off),
        holds=max(off) < SAME,
        criterion=f"In none of {len(bandits)} random bandits, c from 0.2 to 4, is a probability off by {SAME:g}.",
    )
