"""ACTDE on the other matrices of the public code: does it converge to uniform there, as the post's one trial suggests?"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from experiments.reproduce.finding import ACTDE_RESULTS, Finding
from experiments.reproduce.ipd.actde import distance
from experiments.reproduce.ipd.arms import LONG, OTHER_MATRICES, SHARES, UNIFORM, Series
from experiments.reproduce.ipd.claims import Claim, findings_of
from experiments.reproduce.ipd.matrix import GAMMA, best_plan, softmax_shares
from experiments.reproduce.statistics import Judgement, judge
from games.ipd import PAYOFFS


def findings(curves: Mapping[str, Series]) -> list[Finding]:
    """One claim about all matrices, since the post does not say which one it shows."""

    def to_uniform() -> Judgement:
        nearer = [nearer_to_uniform(curves[arm.name]) for arm in OTHER_MATRICES]
        return judge(float(np.concatenate(nearer).sum()), any(trials.all() for trials in nearer))

    claim = Claim(
        id="ipd.actde.other-matrix",
        text="A trial on a different matrix suggests convergence to uniform rather than softmax-return (number of"
        " trials that end nearer to uniform, of two on each of three matrices; the post does not name its matrix).",
        criterion="On at least one of the matrices, every trial ends nearer to uniform than to softmax-return.",
        judge=to_uniform,
    )
    ready = all(curves[arm.name].reaches(LONG) for arm in OTHER_MATRICES)
    return findings_of([claim], section=ACTDE_RESULTS, ready=ready)


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
