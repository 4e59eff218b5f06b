"""Does ACTDE converge to uniform on the public code's other matrices, as the post's one trial suggests?"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from experiments.reproduce.finding import Measurement
from experiments.reproduce.ipd.actde import distance
from experiments.reproduce.ipd.arms import LONG, OTHER_MATRICES, SHARES, UNIFORM, Series
from experiments.reproduce.ipd.matrix import GAMMA, best_plan, softmax_shares
from experiments.reproduce.statistics import judge
from games.ipd import PAYOFFS


def measure(curves: Mapping[str, Series]) -> dict[str, Measurement]:
    """One claim about all matrices, since the post does not say which one it shows; nothing if trials are missing."""
    arms = [curves[arm.name] for arm in OTHER_MATRICES]
    if not all(one.reaches(LONG) for one in arms):
        return {}
    nearer = [nearer_to_uniform(one) for one in arms]
    return {"actde.other-matrix": judge(np.concatenate(nearer).sum(), any(trials.all() for trials in nearer))}


def nearer_to_uniform(one: Series) -> NDArray[np.bool_]:
    """[trials], whether the last shares are nearer to uniform than to softmax-return."""
    shares = one.shares()
    return distance(shares, UNIFORM) < distance(shares, softmax_shares(str(one.arm.recipe.payoff)))


def notes(curves: Mapping[str, Series]) -> list[str]:
    """A table of the trials on each matrix that has some."""
    heads = ["matrix", "best plan", "softmax: alternating, cooperate, defect", "trials at the end", "nearer to uniform"]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for arm in OTHER_MATRICES:
        one, payoff = curves[arm.name], str(arm.recipe.payoff)
        if one.reaches(LONG):
            trials = "; ".join(", ".join(f"{share:.2f}" for share in trial) for trial in one.shares().T)
            line = ", ".join(f"{softmax_shares(payoff)[name]:.2f}" for name in SHARES)
            cells = [payoff, best_plan(PAYOFFS[payoff], GAMMA), line, trials]
            lines.append("| " + " | ".join([*cells, f"{nearer_to_uniform(one).sum()} of {one.trials}"]) + " |")
    return ["\n".join(lines)] if len(lines) > 2 else []
