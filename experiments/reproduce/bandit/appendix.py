"""Check the post's appendix "random notes", which is about tabular ACTDE."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import entr, expit, softmax
from scipy.stats import entropy

from actde.tabular import Tabular, TabularACTDE
from experiments.plot_style import PALETTE, make_figure, save_figure
from experiments.reproduce.bandit.post_tables import REWARDS, STATE, Row, in_turn
from experiments.reproduce.bandit.vectorized import Curves, Learner, simulate
from experiments.reproduce.finding import Measurement
from experiments.reproduce.statistics import Array, all_zero, judge, over_seeds

SHIFTS = (-4.0, -3.0, -2.0, -0.75, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
# No shift makes a reward exactly 0, since `Curves.converged_at` ignores a try with an error of 0.
RATES = tuple(float(rate) for rate in np.geomspace(0.05, 1, 10))
ROUNDS = 600  # with the smallest step size, a fraction (1 - 0.05)^600 = 4e-14 of q's initial error remains
FIGURE = "bandit-appendix.svg"
CAPTION = (
    "Left: logits that wedding (reward 1) and party (0.5) have gained at convergence of q, against the step size of q;"
    " lines are reward / alpha. Right: both rewards shifted by a constant; steps until both arms were tried, and the"
    " lowest entropy of the policy before (means over seeds with 95% intervals)."
)
Bandits = list[tuple[Row, Row]]  # the rewards and the initial logits of each bandit


def converged(rewards: Row, start: Row | None = None, *, alpha: float = 1.0, q_value: float = 0.0) -> Tabular:
    """Train ACTDE on a bandit until q has converged. `start` holds the initial logits."""
    return in_turn(TabularACTDE, rewards, 2 if alpha == 1 else ROUNDS, start, alpha=alpha, q_value=q_value)


def measure(shifts: dict[str, Curves], bandits: Bandits, rng: np.random.Generator) -> dict[str, Measurement]:
    return {
        "appendix.rate": all_zero([abs(gained(rate)["wedding"] * rate - 1) for rate in RATES]),
        **invariances(bandits, rng),
        **exploration(shifts),
        **factors(bandits, rng),
    }


def random_bandit(rng: np.random.Generator) -> tuple[Row, Row]:
    """Return the rewards and the initial logits of a random bandit."""
    arms = range(int(rng.integers(2, 6)))
    return {arm: float(rng.normal(0, 2)) for arm in arms}, {arm: float(rng.normal(0, 1)) for arm in arms}


def distance(one: Mapping[Any, float], other: Mapping[Any, float]) -> float:
    """Return the largest absolute difference between two policies' probabilities."""
    return max(abs(one[arm] - other[arm]) for arm in one)


def gained(rate: float) -> Row:
    """Return how much ACTDE adds to the logits. `rate` is the step size of q."""
    return converged(REWARDS, alpha=rate).logits[STATE]


def invariances(bandits: Bandits, rng: np.random.Generator) -> dict[str, Measurement]:
    """Measure how a constant added to all rewards or to q changes the final policy."""
    by_reward, by_start, added = [], [], []
    for rewards, start in bandits:
        constant, alpha = float(rng.normal(0, 5)), float(rng.choice([1.0, 0.3]))
        plain = converged(rewards, start, alpha=alpha).policy(STATE)
        moved = {arm: reward + constant for arm, reward in rewards.items()}
        by_reward.append(distance(plain, converged(moved, start, alpha=alpha).policy(STATE)))
        by_start.append(distance(plain, converged(rewards, start, alpha=alpha, q_value=constant).policy(STATE)))
        ends = converged(rewards, start).logits[STATE]
        added.append(max(abs(ends[arm] - start[arm] - rewards[arm]) for arm in rewards))
    count = str(len(bandits))
    return {
        "actde.added": all_zero(added, count=count),
        "appendix.shift": all_zero(by_reward, count=count),
        "appendix.q-start": all_zero(by_start, count=count),
    }


def simulate_shifts(rng: np.random.Generator, *, quick: bool) -> dict[str, Curves]:
    """Simulate ACTDE with each constant of `SHIFTS` added to both rewards."""
    learners = [Learner(name=f"{shift:g}", rule="actde", rewards=(1 + shift, 0.5 + shift)) for shift in SHIFTS]
    steps, seeds = (500, 20) if quick else (5000, 200)
    return simulate(learners, steps=steps, seeds=seeds, rng=rng, at=range(1, steps + 1))


def lowest_entropy(curves: Curves) -> Array:
    """Return the lowest entropy of each seed's policy, in nats."""
    policy = expit(curves.gap)
    return np.asarray((entr(policy) + entr(1 - policy)).min(axis=0))


def exploration(shifts: dict[str, Curves]) -> dict[str, Measurement]:
    """Measure how shifting both rewards by 3 affects exploration (note 2.1 of the appendix)."""
    curves = [shifts[name] for name in ("-3", "0", "3")]
    lower, plain, higher = (over_seeds(one.converged_at) for one in curves)
    mixed, even, pure = (over_seeds(lowest_entropy(one)) for one in curves)
    return {
        "appendix.lower": judge(lower, lower["high"] < plain["low"], plain=f"{plain['ours']:.1f}"),
        "appendix.higher": judge(higher, higher["low"] > plain["high"] and pure["high"] < even["low"]),
        "appendix.lower-entropy": judge(mixed, mixed["low"] >= even["high"], plain=f"{even['ours']:.2f}"),
    }


def factors(bandits: Bandits, rng: np.random.Generator) -> dict[str, Measurement]:
    count, differences, extremes = str(len(bandits)), powers(bandits, rng), entropy_falls(bandits, rng)
    differences["temperature"] = temperatures(bandits, rng)
    return {
        **{f"appendix.{name}": all_zero(found, count=count) for name, found in differences.items()},
        **{f"appendix.{name}": judge(float(np.mean(fell)), all(fell), count=count) for name, fell in extremes.items()},
    }


def powers(bandits: Bandits, rng: np.random.Generator) -> dict[str, list[float]]:
    """Multiply all rewards by c, and compare the final policy with three predictions.

    Return the distances by prediction. pi_0 is the initial policy, and pi_1 the final policy for c = 1.

    * "factor": pi_1^c, for a uniform pi_0
    * "factor-any": pi_1^c, for a random pi_0
    * "factor-tilt": pi_0 (pi_1 / pi_0)^c, for a random pi_0
    """
    found: dict[str, list[float]] = {"factor": [], "factor-any": [], "factor-tilt": []}
    for rewards, start in bandits:
        c = float(rng.uniform(0.2, 4))
        found["factor"].append(distance(multiplied(rewards, c), raised(multiplied(rewards, 1), c)))
        first, one = TabularACTDE({STATE: start}).policy(STATE), multiplied(rewards, 1, start)
        many = multiplied(rewards, c, start)
        found["factor-any"].append(distance(many, raised(one, c)))
        tilt = raised({arm: one[arm] / first[arm] for arm in one}, c)
        found["factor-tilt"].append(distance(many, raised({arm: first[arm] * tilt[arm] for arm in one}, 1)))
    return found


def raised(policy: Row, c: float) -> Row:
    weights = {arm: math.exp(c * math.log(p)) for arm, p in policy.items()}
    return {arm: weight / sum(weights.values()) for arm, weight in weights.items()}


def multiplied(rewards: Row, c: float, start: Row | None = None) -> Row:
    """Return ACTDE's final policy if all rewards are multiplied by c."""
    return converged({arm: c * reward for arm, reward in rewards.items()}, start).policy(STATE)


def entropy_falls(bandits: Bandits, rng: np.random.Generator) -> dict[str, list[bool]]:
    """Test for each bandit whether multiplying all rewards lowers the final policy's entropy."""
    found: dict[str, list[bool]] = {"extremize-above": [], "extremize-below": []}
    for rewards, _ in bandits:
        c, plain = float(rng.uniform(1.1, 4)), entropy(list(multiplied(rewards, 1).values()))
        for falls, factor in zip(found.values(), (c, 1 / c), strict=True):
            falls.append(bool(entropy(list(multiplied(rewards, factor).values())) < plain))
    return found


def temperatures(bandits: Bandits, rng: np.random.Generator) -> list[float]:
    """Multiply all rewards by c, and compare the final policy with the softmax at temperature 1 / c."""
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
