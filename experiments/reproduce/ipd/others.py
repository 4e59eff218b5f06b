"""ACTDE on the other matrices of the public code: does it go to uniform there, as the post reads its one trial?"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from experiments.reproduce.finding import Finding
from experiments.reproduce.ipd.actde import SECTION, distance
from experiments.reproduce.ipd.arms import LONG, OTHER_MATRICES, SHARES, UNIFORM, Series
from experiments.reproduce.ipd.claims import Claim, Judgement, judged, number
from experiments.reproduce.ipd.matrix import GAMMA, optimal, plan_name, softmax_shares
from experiments.tables import table
from games.ipd import PAYOFFS


def findings(found: Mapping[str, Series]) -> list[Finding]:
    """One claim, since the post shows one trial and does not say on which matrix."""
    ready = all(found[arm.name].reaches(LONG) for arm in OTHER_MATRICES)

    def to_uniform() -> Judgement:
        nearer = [nearer_to_uniform(found[arm.name]) for arm in OTHER_MATRICES]
        return number(float(np.concatenate(nearer).sum())), any(trials.all() for trials in nearer)

    claim = Claim(
        id="ipd.actde.other-matrix",
        text="A trial on a different matrix suggests convergence to uniform rather than softmax-return (trials that end"
        " nearer to uniform, of two on each of three matrices; the post does not say which it shows).",
        criterion="On at least one of the matrices every trial ends nearer to uniform than to softmax-return.",
        judge=to_uniform,
    )
    return judged([claim], section=SECTION, ready=ready)


def nearer_to_uniform(one: Series) -> NDArray[np.bool_]:
    """[trials] whether the shares of the last 100 steps are nearer to uniform than to softmax-return."""
    shares = ends(one)
    return distance(shares, UNIFORM) < distance(shares, softmax_shares(str(one.arm.recipe.payoff)))


def ends(one: Series) -> NDArray[np.float64]:
    """[3, trials] shares over the last 100 steps."""
    return np.array([one.last(name) for name in SHARES])


def notes(found: Mapping[str, Series]) -> list[str]:
    """A table of the trials on each matrix that has some."""
    heads = ["matrix", "best plan", "softmax: alternating, cooperate, defect", "trials at the end", "nearer to uniform"]
    lines = []
    for arm in OTHER_MATRICES:
        one, payoff = found[arm.name], str(arm.recipe.payoff)
        if one.reaches(LONG):
            trials = "; ".join(", ".join(f"{share:.2f}" for share in trial) for trial in ends(one).T)
            line = ", ".join(f"{softmax_shares(payoff)[name]:.2f}" for name in SHARES)
            uniform = f"{nearer_to_uniform(one).sum()} of {one.trials}"
            lines.append([payoff, plan_name(optimal(PAYOFFS[payoff], GAMMA)), line, trials, uniform])
    return [table(heads, lines)] if lines else []
