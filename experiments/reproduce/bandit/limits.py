"""Measure where, and how fast, on-policy learning converges in the post's examples."""

import math

import numpy as np
from scipy.special import expit

from experiments.reproduce.bandit.post_tables import LIMIT
from experiments.reproduce.bandit.vectorized import Curves, Learner
from experiments.reproduce.finding import Measurement
from experiments.reproduce.statistics import Array, above_zero, judge, over_seeds

FOOD, WIRE, START = (11.0, 10.0), (100.0, 10.0), math.log(99)
LEARNERS = (  # of the cookies and wireheading examples; the better arm comes first
    Learner(name="cookies, ppo", rule="ppo", rewards=FOOD),
    Learner(name="cookies, actde", rule="actde", rewards=FOOD),
    Learner(name="wirehead, ppo", rule="ppo", rewards=WIRE, gap=START),
    Learner(name="wirehead, actde", rule="actde", rewards=WIRE, gap=START),
)
FAST = 100  # steps within which convergence counts as fast


def measure(curves: dict[str, Curves], *, quick: bool) -> dict[str, Measurement]:
    return {
        **wedding(curves["actde"], curves["actde, gradient"], curves["ppo"]),
        **({} if quick else cookies(curves["cookies, actde"], curves["cookies, ppo"])),
        **wireheading(curves["wirehead, actde"], curves["wirehead, ppo"]),
    }


def after_fast(curves: Curves, values: Array) -> Array:
    """Return each seed's change of `values` [steps, seeds] after step number `FAST`."""
    return np.asarray(values[-1] - values[curves.steps >= FAST][0])


def wedding(actde: Curves, along_gradient: Curves, ppo: Curves) -> dict[str, Measurement]:
    final_pi, gradient_pi, movement = expit(actde.gap[-1]), expit(along_gradient.gap[-1]), actde.movement[-1]
    later_movement, ppo_movement = (over_seeds(after_fast(curves, curves.movement)) for curves in (actde, ppo))
    return {
        "actde.fast": judge(over_seeds(actde.converged_at), actde.converged_at.max() <= FAST),
        "actde.not-optimal": judge(over_seeds(final_pi), np.abs(final_pi - LIMIT).max() < 1e-9),
        "actde.gradient": judge(
            over_seeds(gradient_pi),
            np.abs(gradient_pi - LIMIT).max() < 0.005,
            low=f"{gradient_pi.min():.2f}",
            high=f"{gradient_pi.max():.2f}",
        ),
        "actde.finite": judge(over_seeds(movement), np.abs(movement - 1.5).max() < 1e-9),
        "actde.stable": judge(
            later_movement, later_movement["high"] < ppo_movement["low"], ppo=f"{ppo_movement['ours']:.1f}"
        ),
    }


def cookies(actde: Curves, ppo: Curves) -> dict[str, Measurement]:
    # after the first step, one action is hardly sampled for tens of thousands of steps
    final_pi, pizza = expit(actde.gap[-1]), expit(-ppo.gap[-1])
    return {
        "cookies.actde": judge(over_seeds(final_pi), np.abs(final_pi - 1 / (1 + math.exp(-1))).max() < 0.005),
        "cookies.fast": judge(over_seeds(actde.converged_at), actde.converged_at.max() <= FAST),
        "cookies.ppo": judge(over_seeds(pizza), pizza.max() < 0.01),
    }


def wireheading(actde: Curves, ppo: Curves) -> dict[str, Measurement]:
    log_pizza = -np.logaddexp(0, ppo.gap[-1]) / math.log(10)  # pi(pizza) may fall to e^-105
    reached = np.abs(actde.gap[-1] - START - 90) < 1e-6
    return {
        "wireheading.ppo-on-policy": above_zero(over_seeds(after_fast(ppo, ppo.gap))),
        "wireheading.ppo-end": judge(over_seeds(log_pizza), log_pizza.max() < -6),
        "wireheading.bounded": judge(actde.gap.max(), actde.gap.max() <= START + 100 + 1e-9),
        "wireheading.actde-on-policy": judge(over_seeds(reached, unit=True), reached.all()),
    }
