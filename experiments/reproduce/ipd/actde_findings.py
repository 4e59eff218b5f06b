"""Measure the post's claims about ACTDE in the iterated prisoner's dilemma, mostly over ten trials.

The post is by Turner and Einhorn (2023). Some claims are numbers that we read off the figures in its public code.

The agent plays against its own previous action, so a game is a pair of consecutive actions. It is an alternating game
if the two actions differ, a cooperating game if both cooperate, and a defecting game if both defect. Shares are the
fractions of games of these three kinds.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from experiments.reproduce.finding import NOT_RUN, REPRODUCED, Finding, Measurement
from experiments.reproduce.ipd.arms import COLLAPSED, EARLY, LAST, LONG, OTHER_MATRICES, SHARES, SHORT, UNIFORM, Series
from experiments.reproduce.ipd.payoff_matrix import GAMMA, best_plan, softmax_shares
from experiments.reproduce.ipd.ppo_findings import smooth
from experiments.reproduce.ipd_trials.trial import EPOCHS
from experiments.reproduce.statistics import Array, above_zero, judge, next_deviation, next_mean, over_trials
from experiments.tables import table
from games.ipd import PAYOFFS

TRIALS = 10  # trials behind the means and standard deviations in the post's figures
# Names of the claims about numbers that we read off the figures in the post's public code.
READ_OFF = ("trial-225", "mean-peak", "mean-4000", "deviation-4000", "mean-10000", "deviation-10000")


def measure(curves: Mapping[str, Series]) -> dict[str, Measurement]:
    """Measure the claims about ACTDE. Claims whose trials are missing or too short are left out."""
    actde, ppo = curves["actde"], curves["ppo"]
    measurements = read_off(actde) | other_matrices(curves)
    if actde.reaches(LONG):
        measurements |= over_time(actde) | convergence(actde)
        if ppo.reaches(SHORT):
            measurements |= beside_ppo(actde, ppo)
    return measurements


def notes(findings: Sequence[Finding]) -> list[str]:
    """Return a sentence that says how many of the post's numbers lie in our prediction intervals.

    The sentence is in a list, which is empty if none of the numbers in `READ_OFF` was measured.
    """
    names = [f"ipd.actde.{name}" for name in READ_OFF]
    read = [one for one in findings if one.id in names and one.verdict != NOT_RUN]
    outside = [f"`{one.id}`" for one in read if one.verdict != REPRODUCED]
    tail = f"; not {', '.join(outside)}" if outside else ""
    counts = f"{len(read) - len(outside)} of {len(read)} numbers that were read off the public code's figures"
    return [f"Our bands contain {counts}{tail}."] if read else []


def over_time(actde: Series) -> dict[str, Measurement]:
    """Measure the post's claims about how ACTDE changes during training, and about the spread over trials.

    According to the post, ACTDE alternates at first and then regresses towards the uniform policy or the softmax over
    returns. It "reliably" alternates more often than it cooperates or defects. Apart from this, the results of
    different trials are inconsistent.
    """
    first, end, shares = smooth(actde.until(SHORT)).max(axis=1), actde.last("alternate"), actde.shares()
    early_shares = np.array([actde.early(name) for name in SHARES])
    most = alternates_most(shares).mean()
    always = alternates_most(np.stack([actde.column(name)[:, EARLY[0] // EPOCHS :] for name in SHARES])).mean()
    spread = end.std(ddof=1)
    return {
        "actde.alternates-first": judge(over_trials(first), (first > 0.8).all()),
        "actde.regresses": above_zero(over_trials(actde.early("alternate") - end)),
        "actde.closer-to-uniform": above_zero(over_trials(distance(early_shares, UNIFORM) - distance(shares, UNIFORM))),
        "actde.alternates-most": judge(most, most == 1),
        "actde.alternates-most-always": judge(always, always > 0.95),
        "actde.inconsistent": judge(spread, spread > 0.05),
    }


def convergence(actde: Series) -> dict[str, Measurement]:
    """Measure the claims that ACTDE converges slowly and that it may converge to the uniform policy."""
    change = over_trials(actde.trend("alternate"))
    end, middle = actde.shares(), actde.shares(LONG // 2 + LAST)
    approach = over_trials(distance(middle, UNIFORM) - distance(end, UNIFORM))
    nearer = distance(end, UNIFORM).mean() < distance(end, softmax_shares()).mean()
    return {
        "actde.slow": judge(change, change["high"] < 0),
        "actde.to-uniform": judge(approach, approach["low"] > 0 and nearer),
    }


def beside_ppo(actde: Series, ppo: Series) -> dict[str, Measurement]:
    entropy, collapsed = actde.last("entropy"), ppo.last("entropy", SHORT) < COLLAPSED
    sizes = [one.between("advantage_abs", 0, EARLY[0])[: min(actde.trials, ppo.trials)] for one in (ppo, actde)]
    return {
        "actde.no-collapse": judge(over_trials(entropy), (entropy > COLLAPSED).all() and collapsed.all()),
        "actde.calmer": above_zero(over_trials(np.subtract(*sizes))),
    }


def read_off(actde: Series) -> dict[str, Measurement]:
    """Measure the numbers that we read off the figures in the post's public code.

    Shares at a certain step are averaged over 12 gradient steps near that step. The intervals are prediction intervals
    for a repetition with as many trials as the figure.
    """
    measurements = {}
    if actde.reaches(232):
        measurements["actde.trial-225"] = Measurement(**next_mean(actde.between("alternate", 220, 232), 1))
    if actde.reaches(LONG):
        curves = actde.column("alternate")
        peak = curves[:, int(curves.mean(axis=0).argmax())]
        measurements["actde.mean-peak"] = Measurement(**next_mean(peak, TRIALS))
    for step in (4000, LONG):
        if actde.reaches(step):
            sample = actde.between("alternate", step - 12, step)
            measurements[f"actde.mean-{step}"] = Measurement(**next_mean(sample, TRIALS))
            measurements[f"actde.deviation-{step}"] = Measurement(**next_deviation(sample, TRIALS))
    return measurements


def other_matrices(curves: Mapping[str, Series]) -> dict[str, Measurement]:
    """Measure the claim that ACTDE seems to converge to the uniform policy on another payoff matrix.

    The post does not say which matrix it shows, so all `OTHER_MATRICES` are measured. The claim holds if, on at least
    one of them, all trials end nearer to the uniform policy than to the softmax over returns.
    """
    arms = [curves[arm.name] for arm in OTHER_MATRICES]
    if not all(one.reaches(LONG) for one in arms):
        return {}
    nearer = [nearer_to_uniform(one) for one in arms]
    return {"actde.other-matrix": judge(np.concatenate(nearer).sum(), any(trials.all() for trials in nearer))}


def nearer_to_uniform(one: Series) -> NDArray[np.bool_]:
    """Return which trials end nearer to the uniform policy than to the softmax over returns. The shape is [trials]."""
    shares = one.shares()
    return distance(shares, UNIFORM) < distance(shares, softmax_shares(one.payoff))


def matrix_notes(curves: Mapping[str, Series]) -> list[str]:
    """Return a table that shows how the trials on `OTHER_MATRICES` end.

    Matrices whose trials do not reach step `LONG` are omitted. The table is in a list, which is empty if no matrix is
    left.
    """
    heads = ["matrix", "best plan", "softmax: alternating, cooperate, defect", "trials at the end", "nearer to uniform"]
    rows = []
    for one in (curves[arm.name] for arm in OTHER_MATRICES):
        if one.reaches(LONG):
            trials = "; ".join(", ".join(f"{share:.2f}" for share in trial) for trial in one.shares().T)
            line = ", ".join(f"{softmax_shares(one.payoff)[name]:.2f}" for name in SHARES)
            uniform = f"{nearer_to_uniform(one).sum()} of {one.trials}"
            rows.append([one.payoff, best_plan(PAYOFFS[one.payoff], GAMMA), line, trials, uniform])
    return [table(heads, rows)] if rows else []


def distance(shares: Array, policy: Mapping[str, float]) -> Array:
    """Return the L1 distance between `shares` [3, trials] and a policy's shares. The shape is [trials]."""
    return np.asarray(np.abs(shares - np.array([[policy[name]] for name in SHARES])).sum(axis=0))


def alternates_most(shares: Array) -> NDArray[np.bool_]:
    """Return whether alternating games have a larger share than cooperating games and than defecting games.

    `shares` [3, ...] holds the shares of these three kinds of games, in this order. The shape of the result is [...].
    """
    return np.asarray(shares[0] > shares[1:].max(axis=0))
