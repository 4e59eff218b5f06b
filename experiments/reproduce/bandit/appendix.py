"""The post's random notes on ACTDE in tables: the step of q, and shifts of the reward. Leaves out factors.py."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import entr, expit

from actde.tabular import TabularACTDE, bandit_steps, replay
from experiments.plot_style import PALETTE, make_figure, save_figure
from experiments.reproduce import finding
from experiments.reproduce.bandit.lanes import Array, Course, Lane, simulate
from experiments.reproduce.finding import Finding
from experiments.reproduce.seeds import over_seeds

SECTION = "Appendix: random notes"
SHIFTS = (-4.0, -3.0, -2.0, -0.75, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
"""Added to both rewards (none makes a reward 0, whose first try could not be told from no try)."""
RATES = tuple(float(rate) for rate in np.geomspace(0.05, 1, 10))
ROUNDS = 600
"""Rounds of all arms in turn; (1 - 0.05)^600 is 4e-14."""
SAME = 1e-9
FIGURE = "bandit-appendix.svg"
CAPTION = (
    "Left: logits that wedding (reward 1) and party (0.5) have gained when q has converged, against the step of q;"
    " lines are reward / alpha. Right: both rewards shifted by a constant; steps until both arms were tried, and"
    " the policy's least entropy before (means over seeds with 95% intervals)."
)
Row = dict[Any, float]
Bandits = list[tuple[Row, Row]]
"""Rewards and initial logits of each."""


def converged(rewards: Row, start: Row, *, alpha: float = 1.0, b: float = 1.0, q_value: float = 0.0) -> TabularACTDE:
    """An ACTDE learner that took all arms in turn until nothing moved any more."""
    learner = TabularACTDE({0: start}, alpha=alpha, b=b, q_value=q_value)
    replay(learner, bandit_steps(0, rewards, list(rewards) * (2 if alpha == 1 else ROUNDS)))
    return learner


def findings(shifts: Course, bandits: Bandits, rng: np.random.Generator) -> list[Finding]:
    """`shifts` is what `shifted` gave."""
    return [rate_of_q(), *shift(bandits, rng), *explore(shifts)]


def random_bandit(rng: np.random.Generator) -> tuple[Row, Row]:
    """Rewards and initial logits of two to five arms."""
    arms = range(int(rng.integers(2, 6)))
    return {arm: float(rng.normal(0, 2)) for arm in arms}, {arm: float(rng.normal(0, 1)) for arm in arms}


def distance(one: Mapping[Any, float], other: Mapping[Any, float]) -> float:
    """The largest difference of two policies' probabilities."""
    return max(abs(one[arm] - other[arm]) for arm in one)


def gained(rate: float) -> Row:
    """What the logits of the wedding bandit have gained when q, with this step, has converged."""
    return converged({"wedding": 1.0, "party": 0.5}, {"wedding": 0.0, "party": 0.0}, alpha=rate).logits[0]


def rate_of_q() -> Finding:
    off = max(abs(gained(rate)["wedding"] * rate - 1) for rate in RATES)
    return finding.claim(
        "bandit.appendix.rate",
        "The learning rate of q controls the total reinforcement from one source of reward: it is"
        " reward x (step of the logit) / (step of q) (largest relative deviation).",
        section=SECTION,
        ours=off,
        holds=off < SAME,
        criterion=f"For {len(RATES)} steps from 0.05 to 1 the logit gained is that, to {SAME:g}.",
    )


def shift(bandits: Bandits, rng: np.random.Generator) -> list[Finding]:
    """Constants added to all rewards, or to q at the start."""
    by_reward, by_start, added = [], [], []
    for rewards, start in bandits:
        constant, alpha = float(rng.normal(0, 5)), float(rng.choice([1.0, 0.3]))
        plain = converged(rewards, start, alpha=alpha).policy(0)
        moved = {arm: reward + constant for arm, reward in rewards.items()}
        by_reward.append(distance(plain, converged(moved, start, alpha=alpha).policy(0)))
        by_start.append(distance(plain, converged(rewards, start, alpha=alpha, q_value=constant).policy(0)))
        ends = converged(rewards, start).logits[0]
        added.append(max(abs(ends[arm] - start[arm] - rewards[arm]) for arm in rewards))
    criterion = f"In none of {len(bandits)} random bandits with random initial policies is a number off by {SAME:g}."
    return [
        finding.claim(
            f"bandit.{name}",
            f"{claim} (largest difference over random bandits).",
            section=section,
            ours=max(values),
            holds=max(values) < SAME,
            criterion=criterion,
        )
        for name, claim, section, values in (
            (
                "actde.added",
                "Reward logits are added to the initialization logits pi_0",
                next(section for section in finding.SECTIONS if section.startswith("Action-")),
                added,
            ),
            (
                "appendix.shift",
                "The policy at convergence is invariant to constant shifts of the reward function",
                SECTION,
                by_reward,
            ),
            (
                "appendix.q-start",
                "... and of q's initialization (the post: at gamma 1; in a bandit gamma plays no part)",
                SECTION,
                by_start,
            ),
        )
    ]


def shifted(rng: np.random.Generator, *, quick: bool) -> Course:
    """ACTDE on policy, wedding and party with both rewards shifted; every step is kept."""
    lanes = [Lane(name=f"{shift:g}", rule="actde", rewards=(1 + shift, 0.5 + shift)) for shift in SHIFTS]
    steps, seeds = (500, 20) if quick else (5000, 200)
    return simulate(lanes, steps=steps, seeds=seeds, rng=rng, at=range(1, steps + 1))


def least_entropy(course: Course, name: str) -> Array:
    """[S], nats; of the policy on the way."""
    policy = expit(course.of(name).gap[:, 0])
    return np.asarray((entr(policy) + entr(1 - policy)).min(axis=0))


def explore(course: Course) -> list[Finding]:
    """Note 2.1, which the post asks as a question."""
    tried = {name: over_seeds(course.of(name).settled[0].astype(float)) for name in ("-3", "0", "3")}
    low = {name: over_seeds(least_entropy(course, name)) for name in ("-3", "0", "3")}
    return [
        finding.claim(
            "bandit.appendix.lower",
            "Perhaps lower rewards encourage exploration (steps until both arms were tried, rewards lowered by 3;"
            f" {tried['0']['ours']:.1f} as they are).",
            section=SECTION,
            holds=tried["-3"]["high"] < tried["0"]["low"],
            criterion="The interval over seeds lies below that of the rewards as they are.",
            **tried["-3"],
        ),
        finding.claim(
            "bandit.appendix.higher",
            "Perhaps higher rewards encourage temporary mode collapse (the same, rewards raised by 3).",
            section=SECTION,
            holds=tried["3"]["low"] > tried["0"]["high"] and low["3"]["high"] < low["0"]["low"],
            criterion="It takes longer than with the rewards as they are, and the least entropy is lower.",
            **tried["3"],
        ),
        finding.claim(
            "bandit.appendix.lower-entropy",
            "Lower rewards keep the policy from collapsing (its least entropy on the way, rewards lowered by 3;"
            f" {low['0']['ours']:.2f} nats as they are).",
            section=SECTION,
            of_post=False,
            holds=low["-3"]["low"] >= low["0"]["high"],
            criterion="The interval over seeds is not below that of the rewards as they are.",
            **low["-3"],
        ),
    ]


def figure(course: Course, path: Path) -> None:
    drawing, (left, right) = make_figure()
    fine = np.geomspace(RATES[0], RATES[-1], 50)
    for name, reward, marker, color in (("wedding", 1.0, "o", PALETTE[0]), ("party", 0.5, "s", PALETTE[1])):
        left.plot(fine, reward / fine, color=color, lw=1, ls="-" if marker == "o" else "--")
        left.plot(RATES, [gained(rate)[name] for rate in RATES], marker, color=color, ms=5, label=name)
    left.set(xscale="log", yscale="log", xlabel="step of q, alpha", ylabel="logits gained, nats")
    left.legend(frameon=False, fontsize=8)
    names = [f"{shift:g}" for shift in SHIFTS]
    other = right.twinx()
    other.spines["top"].set_visible(False)
    for axis, values, style, color, label in (
        (right, [over_seeds(course.of(name).settled[0].astype(float)) for name in names], "o-", PALETTE[0], "steps"),
        (other, [over_seeds(least_entropy(course, name)) for name in names], "s--", PALETTE[1], "entropy"),
    ):
        means = [band["ours"] for band in values]
        spread = [[band["ours"] - band["low"] for band in values], [band["high"] - band["ours"] for band in values]]
        axis.errorbar(SHIFTS, means, yerr=spread, fmt=style, color=color, ms=4, lw=1.2, capsize=2, label=label)
    right.set(yscale="log", xlabel="added to both rewards", ylabel="steps until both arms were tried (circles)")
    other.set(ylim=(0, 0.7), ylabel="least entropy on the way, nats (squares)")
    save_figure(drawing, path)
