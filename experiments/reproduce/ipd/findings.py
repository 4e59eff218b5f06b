"""Measure the claims about PPO and ACTDE in the prisoner's dilemma.

A claim is left out if its trials are missing or too short.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from experiments.reproduce.finding import NOT_RUN, REPRODUCED, Finding, Measurement
from experiments.reproduce.ipd.arms import COLLAPSED, EARLY, LAST, LONG, OTHER_MATRICES, SHARES, SHORT, UNIFORM, Series
from experiments.reproduce.ipd.payoff_matrix import GAMMA, best_plan, softmax_shares
from experiments.reproduce.ipd_trials.trial import EPOCHS
from experiments.reproduce.statistics import Array, above_zero, judge, next_deviation, next_mean, over_trials
from experiments.tables import table
from games.ipd import PAYOFFS

TRIALS = 10  # behind the means and standard deviations in the post's figures
# claims about numbers that we read off the figures in the post's public code
READ_OFF = ("trial-225", "mean-peak", "mean-4000", "deviation-4000", "mean-10000", "deviation-10000")
LEARNED, PURE, SAME = 0.9, 0.95, 0.05
SMOOTH = 10  # length of the moving average in rollouts


def measure_ppo(curves: Mapping[str, Series]) -> dict[str, Measurement]:
    ppo = curves["ppo"]
    measurements: dict[str, Measurement] = {}
    if ppo.reaches(SHORT):
        start = ppo.until(SHORT)
        steps, end = first_above(start), ppo.last("alternate", SHORT)
        spread = smooth(start).std(axis=0, ddof=1).max()
        measurements |= {
            "ppo.learns": judge(over_trials(steps), (steps <= SHORT / 4).all()),
            "ppo.collapses": judge(over_trials(end), (end > PURE).all()),
            "ppo.runs-alike": judge(spread, spread < SAME),
            "ppo.purer": above_zero(over_trials(ppo.between("entropy", 500, 600) - ppo.last("entropy", SHORT))),
        }
        for name, variant in curves.items():
            if name.startswith("ppo-") and variant.reaches(SHORT):
                means = [smooth(one.until(SHORT)).mean(axis=0) for one in (ppo, variant)]
                apart = np.abs(means[0] - means[1]).max()
                measurements[name.replace("ppo-", "ppo.")] = judge(apart, apart < SAME)
    if ppo.reaches(LONG):
        end, entropy = ppo.last("alternate"), ppo.last("entropy")
        measurements["ppo.stays"] = judge(over_trials(end), (end > PURE).all() and (entropy < COLLAPSED).all())
    return measurements


def measure_actde(curves: Mapping[str, Series]) -> dict[str, Measurement]:
    actde, ppo = curves["actde"], curves["ppo"]
    measurements = read_off(actde) | other_matrices(curves)
    if actde.reaches(LONG):
        measurements |= over_time(actde)
        if ppo.reaches(SHORT):
            entropy, collapsed = actde.last("entropy"), ppo.last("entropy", SHORT) < COLLAPSED
            sizes = [one.between("advantage_abs", 0, EARLY[0])[: min(actde.trials, ppo.trials)] for one in (ppo, actde)]
            measurements |= {
                "actde.no-collapse": judge(over_trials(entropy), (entropy > COLLAPSED).all() and collapsed.all()),
                "actde.calmer": above_zero(over_trials(np.subtract(*sizes))),
            }
    return measurements


def notes(findings: Sequence[Finding]) -> list[str]:
    """Return a sentence about the numbers that we read off the figures."""
    names = [f"ipd.actde.{name}" for name in READ_OFF]
    read = [one for one in findings if one.id in names and one.verdict != NOT_RUN]
    outside = [f"`{one.id}`" for one in read if one.verdict != REPRODUCED]
    tail = f"; not {', '.join(outside)}" if outside else ""
    counts = f"{len(read) - len(outside)} of {len(read)} numbers that were read off the public code's figures"
    return [f"Our bands contain {counts}{tail}."] if read else []


def over_time(actde: Series) -> dict[str, Measurement]:
    first, end, shares = smooth(actde.until(SHORT)).max(axis=1), actde.last("alternate"), actde.shares()
    early_shares = np.array([actde.early(name) for name in SHARES])
    most = alternates_most(shares).mean()
    always = alternates_most(np.stack([actde.column(name)[:, EARLY[0] // EPOCHS :] for name in SHARES])).mean()
    spread, change, apart = end.std(ddof=1), over_trials(actde.trend("alternate")), distance(shares, UNIFORM)
    approach = over_trials(distance(actde.shares(LONG // 2 + LAST), UNIFORM) - apart)
    nearer = apart.mean() < distance(shares, softmax_shares()).mean()
    return {
        "actde.alternates-first": judge(over_trials(first), (first > 0.8).all()),
        "actde.regresses": above_zero(over_trials(actde.early("alternate") - end)),
        "actde.closer-to-uniform": above_zero(over_trials(distance(early_shares, UNIFORM) - apart)),
        "actde.alternates-most": judge(most, most == 1),
        "actde.alternates-most-always": judge(always, always > 0.95),
        "actde.inconsistent": judge(spread, spread > 0.05),
        "actde.slow": judge(change, change["high"] < 0),
        "actde.to-uniform": judge(approach, approach["low"] > 0 and nearer),
    }


def read_off(actde: Series) -> dict[str, Measurement]:
    """Measure the numbers that we read off the figures in the public code."""
    bands = {}
    if actde.reaches(232):
        bands["trial-225"] = next_mean(actde.between("alternate", 220, 232), 1)
    if actde.reaches(LONG):
        curves = actde.column("alternate")
        bands["mean-peak"] = next_mean(curves[:, int(curves.mean(axis=0).argmax())], TRIALS)
    for step in (4000, LONG):
        if actde.reaches(step):
            sample = actde.between("alternate", step - 12, step)
            bands |= {f"mean-{step}": next_mean(sample, TRIALS), f"deviation-{step}": next_deviation(sample, TRIALS)}
    return {f"actde.{name}": Measurement(**band) for name, band in bands.items()}


def other_matrices(curves: Mapping[str, Series]) -> dict[str, Measurement]:
    """Measure the claim that ACTDE converges to the uniform policy with another payoff matrix."""
    arms = [curves[arm.name] for arm in OTHER_MATRICES]
    if not all(one.reaches(LONG) for one in arms):
        return {}
    nearer = [nearer_to_uniform(one) for one in arms]
    # the post does not name its matrix, so one of them is enough
    return {"actde.other-matrix": judge(np.concatenate(nearer).sum(), any(trials.all() for trials in nearer))}


def nearer_to_uniform(one: Series) -> NDArray[np.bool_]:
    shares = one.shares()
    return distance(shares, UNIFORM) < distance(shares, softmax_shares(one.payoff))


def matrix_notes(curves: Mapping[str, Series]) -> list[str]:
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
    """Return the L1 distances [trials] of `shares` [3, trials] from a policy's shares."""
    return np.asarray(np.abs(shares - np.array([[policy[name]] for name in SHARES])).sum(axis=0))


def alternates_most(shares: Array) -> NDArray[np.bool_]:
    """Return where alternating games have the largest of the `shares` [3, ...]."""
    return np.asarray(shares[0] > shares[1:].max(axis=0))


def smooth(one: Series) -> Array:
    """Return moving averages [trials, rollouts - SMOOTH + 1] of the share of alternating games."""
    return np.stack([np.convolve(row, np.ones(SMOOTH) / SMOOTH, mode="valid") for row in one.column("alternate")])


def first_above(one: Series) -> Array:
    """Return each trial's first gradient step with more than 90% alternating games.

    Without such a step, the result is the length of the trial.
    """
    over = one.column("alternate") > LEARNED
    return np.asarray(np.where(over.any(axis=1), over.argmax(axis=1), one.rows.shape[1]) * EPOCHS, np.float64)
