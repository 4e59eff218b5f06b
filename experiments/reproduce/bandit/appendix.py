"""Check the claims about ACTDE in the post's appendix."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import entr, expit, softmax
from scipy.stats import entropy

from actde.tabular import Tabular, TabularACTDE
from experiments.plot_style import PALETTE, make_figure, save_figure
from experiments.reproduce.bandit.post_tables import REWARDS, STATE, Row, train_in_turn
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


def converged_learner(
    rewards: Row, initial_logits: Row | None = None, *, alpha: float = 1.0, q_value: float = 0.0
) -> Tabular:
    """Train ACTDE on a bandit until q converges. Return the learner."""
    return train_in_turn(
        TabularACTDE, rewards, 2 if alpha == 1 else ROUNDS, initial_logits, alpha=alpha, q_value=q_value
    )


def measure(shift_curves: dict[str, Curves], bandits: Bandits, rng: np.random.Generator) -> dict[str, Measurement]:
    return {
        "appendix.rate": all_zero([abs(gained_logits(rate)["wedding"] * rate - 1) for rate in RATES]),
        **invariances(bandits, rng),
        **exploration(shift_curves),
        **factors(bandits, rng),
    }


def random_bandit(rng: np.random.Generator) -> tuple[Row, Row]:
    """Return the rewards and the initial logits of a random bandit."""
    arms = range(int(rng.integers(2, 6)))
    return {arm: float(rng.normal(0, 2)) for arm in arms}, {arm: float(rng.normal(0, 1)) for arm in arms}


def distance(first: Mapping[Any, float], second: Mapping[Any, float]) -> float:
    """Return the largest absolute difference between two policies' probabilities."""
    return max(abs(first[arm] - second[arm]) for arm in first)


def gained_logits(alpha: float) -> Row:
    """Return the total increase of each logit until q converges. `alpha` is q's step size."""
    return converged_learner(REWARDS, alpha=alpha).logits[STATE]


def invariances(bandits: Bandits, rng: np.random.Generator) -> dict[str, Measurement]:
    """Test whether the final policy changes if a constant is added to all rewards or initial q-values."""
    reward_distances, q_distances, logit_errors = [], [], []
    for rewards, initial_logits in bandits:
        constant, alpha = float(rng.normal(0, 5)), float(rng.choice([1.0, 0.3]))
        policy = converged_learner(rewards, initial_logits, alpha=alpha).policy(STATE)
        shifted = {arm: reward + constant for arm, reward in rewards.items()}
        reward_distances.append(distance(policy, converged_learner(shifted, initial_logits, alpha=alpha).policy(STATE)))
        q_distances.append(
            distance(policy, converged_learner(rewards, initial_logits, alpha=alpha, q_value=constant).policy(STATE))
        )
        final_logits = converged_learner(rewards, initial_logits).logits[STATE]
        logit_errors.append(max(abs(final_logits[arm] - initial_logits[arm] - rewards[arm]) for arm in rewards))
    count = str(len(bandits))
    return {
        "actde.added": all_zero(logit_errors, count=count),
        "appendix.shift": all_zero(reward_distances, count=count),
        "appendix.q-start": all_zero(q_distances, count=count),
    }


def simulate_shifts(rng: np.random.Generator, *, quick: bool) -> dict[str, Curves]:
    """Return ACTDE's curves, keyed by the number added to both rewards."""
    learners = [Learner(name=f"{shift:g}", rule="actde", rewards=(1 + shift, 0.5 + shift)) for shift in SHIFTS]
    steps, seeds = (500, 20) if quick else (5000, 200)
    return simulate(learners, steps=steps, seeds=seeds, rng=rng, record_steps=range(1, steps + 1))


def lowest_entropy(curves: Curves) -> Array:
    """Return each seed's lowest policy entropy during training, in nats."""
    policy = expit(curves.gap)
    return np.asarray((entr(policy) + entr(1 - policy)).min(axis=0))


def exploration(shift_curves: dict[str, Curves]) -> dict[str, Measurement]:
    """Compare exploration after adding -3, 0 or 3 to all rewards (appendix, note 2.1)."""
    three = [shift_curves[name] for name in ("-3", "0", "3")]
    steps_lower, steps_plain, steps_higher = (over_seeds(curves.converged_at) for curves in three)
    entropy_lower, entropy_plain, entropy_higher = (over_seeds(lowest_entropy(curves)) for curves in three)
    return {
        "appendix.lower": judge(
            steps_lower, steps_lower["high"] < steps_plain["low"], plain=f"{steps_plain['ours']:.1f}"
        ),
        "appendix.higher": judge(
            steps_higher, steps_higher["low"] > steps_plain["high"] and entropy_higher["high"] < entropy_plain["low"]
        ),
        "appendix.lower-entropy": judge(
            entropy_lower, entropy_lower["low"] >= entropy_plain["high"], plain=f"{entropy_plain['ours']:.2f}"
        ),
    }


def factors(bandits: Bandits, rng: np.random.Generator) -> dict[str, Measurement]:
    count, distances, falls = str(len(bandits)), power_distances(bandits, rng), entropy_falls(bandits, rng)
    distances["temperature"] = softmax_distances(bandits, rng)
    return {
        **{f"appendix.{name}": all_zero(values, count=count) for name, values in distances.items()},
        **{f"appendix.{name}": judge(float(np.mean(cases)), all(cases), count=count) for name, cases in falls.items()},
    }


def power_distances(bandits: Bandits, rng: np.random.Generator) -> dict[str, list[float]]:
    """Predict final policies after scaling the rewards. Return prediction name -> one error per bandit."""
    distances: dict[str, list[float]] = {"factor": [], "factor-any": [], "factor-tilt": []}
    for rewards, initial_logits in bandits:
        # pi_0 is the initial policy, and pi_1 and pi_c are the final policies for the factors 1 and c
        c = float(rng.uniform(0.2, 4))
        # predicted: pi_1^c for a uniform pi_0
        distances["factor"].append(distance(final_policy(rewards, c), normalized_power(final_policy(rewards, 1), c)))
        pi_0, pi_1 = TabularACTDE({STATE: initial_logits}).policy(STATE), final_policy(rewards, 1, initial_logits)
        pi_c = final_policy(rewards, c, initial_logits)
        # predicted: pi_1^c for a random pi_0
        distances["factor-any"].append(distance(pi_c, normalized_power(pi_1, c)))
        # predicted: pi_0 (pi_1 / pi_0)^c for a random pi_0
        tilt = normalized_power({arm: pi_1[arm] / pi_0[arm] for arm in pi_1}, c)
        distances["factor-tilt"].append(
            distance(pi_c, normalized_power({arm: pi_0[arm] * tilt[arm] for arm in pi_1}, 1))
        )
    return distances


def normalized_power(policy: Row, c: float) -> Row:
    weights = {arm: math.exp(c * math.log(p)) for arm, p in policy.items()}
    return {arm: weight / sum(weights.values()) for arm, weight in weights.items()}


def final_policy(rewards: Row, c: float, initial_logits: Row | None = None) -> Row:
    """Return ACTDE's final policy for rewards multiplied by c."""
    return converged_learner({arm: c * reward for arm, reward in rewards.items()}, initial_logits).policy(STATE)


def entropy_falls(bandits: Bandits, rng: np.random.Generator) -> dict[str, list[bool]]:
    """Return claim -> one bool per bandit: whether scaled rewards lower the final policy's entropy."""
    falls: dict[str, list[bool]] = {"extremize-above": [], "extremize-below": []}
    for rewards, _ in bandits:
        c, unscaled = float(rng.uniform(1.1, 4)), entropy(list(final_policy(rewards, 1).values()))
        for lowered, factor in zip(falls.values(), (c, 1 / c), strict=True):
            lowered.append(bool(entropy(list(final_policy(rewards, factor).values())) < unscaled))
    return falls


def softmax_distances(bandits: Bandits, rng: np.random.Generator) -> list[float]:
    """Train ACTDE on rewards / tau. Return one distance per bandit: final policy to softmax(rewards / tau)."""
    distances = []
    for rewards, _ in bandits:
        tau = 1 / float(rng.uniform(0.2, 4))
        prediction = softmax(np.array(list(rewards.values())) / tau)
        distances.append(distance(final_policy(rewards, 1 / tau), dict(zip(rewards, prediction.tolist(), strict=True))))
    return distances


def draw_figure(shift_curves: dict[str, Curves], path: Path) -> None:
    figure, (left, right) = make_figure()
    alphas = np.geomspace(RATES[0], RATES[-1], 50)
    for name, reward, marker, color in (("wedding", 1.0, "o", PALETTE[0]), ("party", 0.5, "s", PALETTE[1])):
        left.plot(alphas, reward / alphas, color=color, lw=1, ls="-" if marker == "o" else "--")
        left.plot(RATES, [gained_logits(rate)[name] for rate in RATES], marker, color=color, ms=5, label=name)
    left.set(xscale="log", yscale="log", xlabel="step of q, alpha", ylabel="logits gained, nats")
    left.legend(frameon=False, fontsize=8)
    entropy_axis = right.twinx()
    entropy_axis.spines["top"].set_visible(False)
    for axis, bands, style, color, label in (
        (right, [over_seeds(curves.converged_at) for curves in shift_curves.values()], "o-", PALETTE[0], "steps"),
        (
            entropy_axis,
            [over_seeds(lowest_entropy(curves)) for curves in shift_curves.values()],
            "s--",
            PALETTE[1],
            "entropy",
        ),
    ):
        means = [band["ours"] for band in bands]
        spread = [[band["ours"] - band["low"] for band in bands], [band["high"] - band["ours"] for band in bands]]
        axis.errorbar(SHIFTS, means, yerr=spread, fmt=style, color=color, ms=4, lw=1.2, capsize=2, label=label)
    right.set(yscale="log", xlabel="added to both rewards", ylabel="steps until both arms were tried (circles)")
    entropy_axis.set(ylim=(0, 0.7), ylabel="least entropy on the way, nats (squares)")
    save_figure(figure, path)
