"""The post's random notes on ACTDE in tables: the step size of q, and shifts of the reward."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import entr, expit

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
    return {"appendix.rate": rate, **invariances(bandits, rng), **exploration(shifts)}


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
    lower_entropy, entropy, higher_entropy = (over_seeds(lowest_entropy(shifts[name])) for name in ("-3", "0", "3"))
    longer, purer = higher["low"] > plain["high"], higher_entropy["high"] < entropy["low"]
    mixed = lower_entropy["low"] >= entropy["high"]
    return {
        "appendix.lower": judge(lower, lower["high"] < plain["low"], plain=f"{plain['ours']:.1f}"),
        "appendix.higher": judge(higher, longer and purer),
        "appendix.lower-entropy": judge(lower_entropy, mixed, plain=f"{entropy['ours']:.2f}"),
    }


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
