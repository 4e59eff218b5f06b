"""Where learners converge on policy, and when: ACTDE's softmax and wireheading.

Unlike in tables.py, the learner tries an action only if its policy happens to choose it.
"""

import math

import numpy as np
from scipy.special import expit

from experiments.reproduce.bandit.tables import LIMIT
from experiments.reproduce.bandit.vectorized import Curves, Learner
from experiments.reproduce.finding import ACTDE, ADVANTAGE, SUMMARY, WIREHEADING, Finding, claim, unjudged
from experiments.reproduce.statistics import Array, above_zero, judge, over_seeds

FOOD, WIRE, START = (11.0, 10.0), (100.0, 10.0), math.log(99)
LEARNERS = (
    Learner(name="cookies, ppo", rule="ppo", rewards=FOOD),
    Learner(name="cookies, actde", rule="actde", rewards=FOOD),
    Learner(name="wirehead, ppo", rule="ppo", rewards=WIRE, gap=START),
    Learner(name="wirehead, actde", rule="actde", rewards=WIRE, gap=START),
)
"""The better arm first."""
FAST = 100
"""Steps; convergence within them counts as fast."""


def findings(curves: dict[str, Curves], *, quick: bool) -> list[Finding]:
    """All claims; a quick run is too short for those about cookies."""
    food = cookies(curves["cookies, actde"], curves["cookies, ppo"])
    return [
        *wedding(curves["actde"], curves["actde, gradient"]),
        *reinforcement(curves["actde"], curves["ppo"]),
        *(map(unjudged, food) if quick else food),
        *wireheading(curves["wirehead, actde"], curves["wirehead, ppo"]),
    ]


def after_fast(curves: Curves, values: Array) -> Array:
    """[S], the change of `values` [T, S] after the first `FAST` steps."""
    early = int(np.flatnonzero(curves.steps >= FAST)[0])
    return np.asarray(values[-1] - values[early])


def wedding(actde: Curves, along_gradient: Curves) -> list[Finding]:
    """ACTDE on wedding and party."""
    ends, gradient_ends = expit(actde.gap[-1]), expit(along_gradient.gap[-1])
    return [
        claim(
            "bandit.actde.fast",
            "Convergence is quick, extremely fast (the last step at which the error is not 0).",
            section=ACTDE,
            criterion=f"Every seed has converged after {FAST} steps.",
            **judge(over_seeds(actde.converged_at), actde.converged_at.max() <= FAST),
        ),
        claim(
            "bandit.actde.not-optimal",
            "ACTDE does not converge to the optimal policy, even with infinite exploration; it does not mode-collapse"
            " (pi(wedding) after the last step).",
            section=ACTDE,
            criterion="Every seed ends at e/(e + sqrt e) = .6225.",
            **judge(over_seeds(ends), np.abs(ends - LIMIT).max() < 1e-9),
        ),
        claim(
            "bandit.actde.gradient",
            "... also if the error moves the logits along the gradient of log pi, which moves both: seeds end between"
            f" {gradient_ends.min():.2f} and {gradient_ends.max():.2f}.",
            section=ACTDE,
            criterion="Every seed ends within .005 of e/(e + sqrt e).",
            of_post=False,
            **judge(over_seeds(gradient_ends), np.abs(gradient_ends - LIMIT).max() < 0.005),
        ),
    ]


def reinforcement(actde: Curves, ppo: Curves) -> list[Finding]:
    """How far the logits move in total, back and forth, and after the first steps."""
    total, later, ppo_later = actde.moved[-1], *(over_seeds(after_fast(one, one.moved)) for one in (actde, ppo))
    return [
        claim(
            "bandit.actde.finite",
            "The amount of reinforcement is finite: the sum of all |errors| is the sum of the rewards.",
            section=ACTDE,
            criterion="Every seed's sum is 1.5 after the last step.",
            **judge(over_seeds(total), np.abs(total - 1.5).max() < 1e-9),
        ),
        claim(
            "bandit.actde.stable",
            "Training should be more stable, with smaller fluctuations of the advantage: the sum of |errors| after step"
            f" {FAST} (PPO's is {ppo_later['ours']:.1f}).",
            section=ACTDE,
            criterion="ACTDE's interval lies below PPO's.",
            **judge(later, later["high"] < ppo_later["low"]),
        ),
        claim(
            "bandit.ppo.reinforcement",
            "PPO extracts arbitrarily many updates from one kind of event: its sum of |errors| in the last decade of"
            " steps.",
            section=ADVANTAGE,
            criterion="The interval is above 0.",
            **above_zero(over_seeds(ppo.last_decade(ppo.moved))),
        ),
    ]


def cookies(actde: Curves, ppo: Curves) -> list[Finding]:
    """Rewards 10 and 11: the first reward raises a barrier that takes tens of thousands of steps to overcome."""
    ends, pizza = expit(actde.gap[-1]), expit(-ppo.gap[-1])
    return [
        claim(
            "bandit.cookies.actde",
            "ACTDE converges to 73% cookies on policy too (pi(cookies) after the last step).",
            section=SUMMARY,
            post=0.73,
            criterion="Every seed ends within .005 of e/(1 + e).",
            **judge(over_seeds(ends), np.abs(ends - 1 / (1 + math.exp(-1))).max() < 0.005),
        ),
        claim(
            "bandit.cookies.fast",
            'Convergence is "extremely fast" with these rewards too (the step at which it converges; footnote 6 says so'
            " of wedding and party only).",
            section=SUMMARY,
            criterion=f"Every seed has converged after {FAST} steps.",
            of_post=False,
            **judge(over_seeds(actde.converged_at), actde.converged_at.max() <= FAST),
        ),
        claim(
            "bandit.cookies.ppo",
            "PPO converges to cookies only, on policy too (pi(pizza) after the last step).",
            section=SUMMARY,
            criterion="Every seed ends with pi(pizza) below .01.",
            **judge(over_seeds(pizza), pizza.max() < 0.01),
        ),
    ]


def wireheading(actde: Curves, ppo: Curves) -> list[Finding]:
    """On policy, pizza is tried early or, with probability e^-104 per step, never."""
    log_pizza = -np.logaddexp(0, ppo.gap[-1]) / math.log(10)
    reached = np.abs(actde.gap[-1] - START - 90) < 1e-6
    return [
        claim(
            "bandit.wireheading.ppo-on-policy",
            f"PPO upweights wireheading more and more, on policy (growth of the gap after step {FAST}, nats).",
            section=WIREHEADING,
            criterion="The interval is above 0.",
            **above_zero(over_seeds(after_fast(ppo, ppo.gap))),
        ),
        claim(
            "bandit.wireheading.ppo-end",
            "PPO ends at {pizza: epsilon, wirehead: 1 - epsilon} (log10 of pi(pizza)).",
            section=WIREHEADING,
            criterion="Every seed ends with pi(pizza) below one in a million.",
            **judge(over_seeds(log_pizza), log_pizza.max() < -6),
        ),
        claim(
            "bandit.wireheading.bounded",
            "Under ACTDE, wireheading gets only a bounded number of logits (nats above pizza, the maximum of all seeds).",
            section=WIREHEADING,
            criterion="At no recorded step of any seed is the gap above log 99 + 100.",
            **judge(actde.gap.max(), actde.gap.max() <= START + 100 + 1e-9),
        ),
        claim(
            "bandit.wireheading.actde-on-policy",
            "ACTDE leads to the softmax over rewards, on policy (share of seeds that reach it).",
            section=WIREHEADING,
            criterion="Every seed's gap is log 99 + 90 after the last step.",
            **judge(over_seeds(reached, unit=True), reached.all()),
        ),
    ]
