"""The post's random notes on ACTDE in tables: the step size of q, and shifts and factors of the reward."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import entr, expit, softmax
from scipy.stats import entropy

from actde.tabular import TabularACTDE, bandit_steps, replay
from experiments.plot_style import PALETTE, make_figure, save_figure
from experiments.reproduce.bandit.vectorized import Curves, Learner, simulate
from experiments.reproduce.finding import Measurement
from experiments.reproduce.statistics import Array, all_zero, judge, over_seeds

SHIFTS = (-4.0, -3.0, -2.0, -0.75, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
"""Added to both rewards. None makes a reward 0, whose first try could not be told from no try."""
RATES = tuple(float(rate) for rate in np.geomspace(0.05, 1, 10))
ROUNDS = 600
"""Rounds of all arms in turn; (1 - 0.05)^600 is 4e-14."""
FIGURE = "bandit-appendix.svg"
CAPTION = (
    "Left: logits that wedding (reward 1) and party (0.5) have gained at convergence of q, against the step size of q;"
    " lines are reward / alpha. Right: both rewards shifted by a constant; steps until both arms were tried, and the"
    " lowest entropy of the policy before (means over seeds with 95% intervals)."
)
Row = dict[Any, float]
Bandits = list[tuple[Row, Row]]
"""Rewards and initial logits of each."""


def converged(rewards: Row, start: Row, *, alpha: float = 1.0, b: float = 1.0, q_value: float = 0.0) -> TabularACTDE:
    """An ACTDE learner that took all arms in turn until it converged."""
    learner = TabularACTDE({0: start}, alpha=alpha, b=b, q_value=q_value)
    replay(learner, bandit_steps(0, rewards, list(rewards) * (2 if alpha == 1 else ROUNDS)))
    return learner


def measure(shifts: dict[str, Curves], bandits: Bandits, rng: np.random.Generator) -> dict[str, Measurement]:
    """`shifts` is the result of `simulate_shifts`."""
    rate = all_zero([abs(gained(rate)["wedding"] * rate - 1) for rate in RATES])
    return {"appendix.rate": rate, **invariances(bandits, rng), **exploration(shifts), **factors(bandits, rng)}


def random_bandit(rng: np.random.Generator) -> tuple[Row, Row]:
    """Rewards and initial logits of two to five arms."""
    arms = range(int(rng.integers(2, 6)))
    return {arm: float(rng.normal(0, 2)) for arm in arms}, {arm: float(rng.normal(0, 1)) for arm in arms}


def distance(one: Mapping[Any, float], other: Mapping[Any, float]) -> float:
    """The largest difference between two policies' probabilities."""
    return max(abs(one[arm] - other[arm]) for arm in one)


def gained(rate: float) -> Row:
    """Logits that the wedding bandit has gained when q, with this step size, has converged."""
    return converged({"wedding": 1.0, "party": 0.5}, {"wedding": 0.0, "party": 0.0}, alpha=rate).logits[0]


def invariances(bandits: Bandits, rng: np.random.Generator) -> dict[str, Measurement]:
    """Constants added to all rewards, or to q's initial value."""
    by_reward, by_start, added = [], [], []
    for rewards, start in bandits:
        constant, alpha = float(rng.normal(0, 5)), float(rng.choice([1.0, 0.3]))
        plain = converged(rewards, start, alpha=alpha).policy(0)
        moved = {arm: reward + constant for arm, reward in rewards.items()}
        by_reward.append(distance(plain, converged(moved, start, alpha=alpha).policy(0)))
        by_start.append(distance(plain, converged(rewards, start, alpha=alpha, q_value=constant).policy(0)))
        ends = converged(rewards, start).logits[0]
        added.append(max(abs(ends[arm] - start[arm] - rewards[arm]) for arm in rewards))
    count = str(len(bandits))
    return {
        "actde.added": all_zero(added, count=count),
        "appendix.shift": all_zero(by_reward, count=count),
        "appendix.q-start": all_zero(by_start, count=count),
    }


def simulate_shifts(rng: np.random.Generator, *, quick: bool) -> dict[str, Curves]:
    """ACTDE on policy with both rewards of wedding and party shifted; every step is recorded."""
    learners = [Learner(name=f"{shift:g}", rule="actde", rewards=(1 + shift, 0.5 + shift)) for shift in SHIFTS]
    steps, seeds = (500, 20) if quick else (5000, 200)
    return simulate(learners, steps=steps, seeds=seeds, rng=rng, at=range(1, steps + 1))


def lowest_entropy(curves: Curves) -> Array:
    """[S], lowest entropy of the policy on the way, nats."""
    policy = expit(curves.gap)
    return np.asarray((entr(policy) + entr(1 - policy)).min(axis=0))


def exploration(shifts: dict[str, Curves]) -> dict[str, Measurement]:
    """Note 2.1, which the post asks as a question, with rewards lowered and raised by 3."""
    lower, plain, higher = (over_seeds(shifts[name].converged_at) for name in ("-3", "0", "3"))
    lower_entropy, plain_entropy, higher_entropy = (
        over_seeds(lowest_entropy(shifts[name])) for name in ("-3", "0", "3")
    )
    longer, purer = higher["low"] > plain["high"], higher_entropy["high"] < plain_entropy["low"]
    mixed = lower_entropy["low"] >= plain_entropy["high"]
    return {
        "appendix.lower": judge(lower, lower["high"] < plain["low"], plain=f"{plain['ours']:.1f}"),
        "appendix.higher": judge(higher, longer and purer),
        "appendix.lower-entropy": judge(lower_entropy, mixed, plain=f"{plain_entropy['ours']:.2f}"),
    }


def factors(bandits: Bandits, rng: np.random.Generator) -> dict[str, Measurement]:
    """Note 2.2: the effect of a factor c of all rewards."""
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


def figure(shifts: dict[str, Curves], path: Path) -> None:
    drawing, (left, right) = make_figure()
    fine = np.geomspace(RATES[0], RATES[-1], 50)
    for name, reward, marker, color in (("wedding", 1.0, "o", PALETTE[0]), ("party", 0.5, "s", PALETTE[1])):
        left.plot(fine, reward / fine, color=color, lw=1, ls="-" if marker == "o" else "--")
        left.plot(RATES, [gained(rate)[name] for rate in RATES], marker, color=color, ms=5, label=name)
    left.set(xscale="log", yscale="log", xlabel="step of q, alpha", ylabel="logits gained, nats")
    left.legend(frameon=False, fontsize=8)
    other = right.twinx()
    other.spines["top"].set_visible(False)
    for axis, values, style, color, label in (
        (right, [over_seeds(curves.converged_at) for curves in shifts.values()], "o-", PALETTE[0], "steps"),
        (other, [over_seeds(lowest_entropy(curves)) for curves in shifts.values()], "s--", PALETTE[1], "entropy"),
    ):
        means = [band["ours"] for band in values]
        spread = [[band["ours"] - band["low"] for band in values], [band["high"] - band["ours"] for band in values]]
        axis.errorbar(SHIFTS, means, yerr=spread, fmt=style, color=color, ms=4, lw=1.2, capsize=2, label=label)
    right.set(yscale="log", xlabel="added to both rewards", ylabel="steps until both arms were tried (circles)")
    other.set(ylim=(0, 0.7), ylabel="least entropy on the way, nats (squares)")
    save_figure(drawing, path)
