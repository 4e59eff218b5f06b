"""Measure the claims about PPO and ACTDE in the prisoner's dilemma."""

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
        beginning = ppo.until(SHORT)
        steps, last_shares = first_learned(beginning), ppo.mean_before("alternate", SHORT)
        spread = smooth(beginning).std(axis=0, ddof=1).max()
        measurements |= {
            "ppo.learns": judge(over_trials(steps), (steps <= SHORT / 4).all()),
            "ppo.collapses": judge(over_trials(last_shares), (last_shares > PURE).all()),
            "ppo.runs-alike": judge(spread, spread < SAME),
            "ppo.purer": above_zero(
                over_trials(ppo.mean_between("entropy", 500, 600) - ppo.mean_before("entropy", SHORT))
            ),
        }
        for name, variant in curves.items():
            if name.startswith("ppo-") and variant.reaches(SHORT):
                means = [smooth(series.until(SHORT)).mean(axis=0) for series in (ppo, variant)]
                difference = np.abs(means[0] - means[1]).max()
                measurements[name.replace("ppo-", "ppo.")] = judge(difference, difference < SAME)
    if ppo.reaches(LONG):
        last_shares, entropy = ppo.mean_before("alternate"), ppo.mean_before("entropy")
        measurements["ppo.stays"] = judge(
            over_trials(last_shares), (last_shares > PURE).all() and (entropy < COLLAPSED).all()
        )
    return measurements


def measure_actde(curves: Mapping[str, Series]) -> dict[str, Measurement]:
    actde, ppo = curves["actde"], curves["ppo"]
    measurements = measure_read_off(actde) | measure_other_matrices(curves)
    if actde.reaches(LONG):
        measurements |= measure_over_time(actde)
        if ppo.reaches(SHORT):
            entropy, collapsed = actde.mean_before("entropy"), ppo.mean_before("entropy", SHORT) < COLLAPSED
            advantages = [
                series.mean_between("advantage_abs", 0, EARLY[0])[: min(actde.trials, ppo.trials)]
                for series in (ppo, actde)
            ]
            measurements |= {
                "actde.no-collapse": judge(over_trials(entropy), (entropy > COLLAPSED).all() and collapsed.all()),
                "actde.calmer": above_zero(over_trials(np.subtract(*advantages))),
            }
    return measurements


def notes(findings: Sequence[Finding]) -> list[str]:
    """Return a sentence that counts the public code's numbers within our intervals."""
    names = [f"ipd.actde.{name}" for name in READ_OFF]
    measured = [finding for finding in findings if finding.id in names and finding.verdict != NOT_RUN]
    outside = [f"`{finding.id}`" for finding in measured if finding.verdict != REPRODUCED]
    exceptions = f"; not {', '.join(outside)}" if outside else ""
    counts = f"{len(measured) - len(outside)} of {len(measured)} numbers that were read off the public code's figures"
    return [f"Our bands contain {counts}{exceptions}."] if measured else []


def measure_over_time(actde: Series) -> dict[str, Measurement]:
    peaks, last_shares, shares = smooth(actde.until(SHORT)).max(axis=1), actde.mean_before("alternate"), actde.shares()
    early_shares = np.array([actde.early_mean(name) for name in SHARES])
    at_end = alternates_most(shares).mean()
    over_time = alternates_most(np.stack([actde.column(name)[:, EARLY[0] // EPOCHS :] for name in SHARES])).mean()
    spread, trend, distances = last_shares.std(ddof=1), over_trials(actde.trend("alternate")), distance(shares, UNIFORM)
    approach = over_trials(distance(actde.shares(LONG // 2 + LAST), UNIFORM) - distances)
    nearer = distances.mean() < distance(shares, softmax_shares()).mean()
    return {
        "actde.alternates-first": judge(over_trials(peaks), (peaks > 0.8).all()),
        "actde.regresses": above_zero(over_trials(actde.early_mean("alternate") - last_shares)),
        "actde.closer-to-uniform": above_zero(over_trials(distance(early_shares, UNIFORM) - distances)),
        "actde.alternates-most": judge(at_end, at_end == 1),
        "actde.alternates-most-always": judge(over_time, over_time > 0.95),
        "actde.inconsistent": judge(spread, spread > 0.05),
        "actde.slow": judge(trend, trend["high"] < 0),
        "actde.to-uniform": judge(approach, approach["low"] > 0 and nearer),
    }


def measure_read_off(actde: Series) -> dict[str, Measurement]:
    """Measure the quantities that the public code's figures show."""
    bands = {}
    if actde.reaches(232):
        bands["trial-225"] = next_mean(actde.mean_between("alternate", 220, 232), 1)
    if actde.reaches(LONG):
        curves = actde.column("alternate")
        bands["mean-peak"] = next_mean(curves[:, int(curves.mean(axis=0).argmax())], TRIALS)
    for step in (4000, LONG):
        if actde.reaches(step):
            sample = actde.mean_between("alternate", step - 12, step)
            bands |= {f"mean-{step}": next_mean(sample, TRIALS), f"deviation-{step}": next_deviation(sample, TRIALS)}
    return {f"actde.{name}": Measurement(**band) for name, band in bands.items()}


def measure_other_matrices(curves: Mapping[str, Series]) -> dict[str, Measurement]:
    """For other payoff matrices, measure whether ACTDE converges to the uniform policy."""
    arms = [curves[arm.name] for arm in OTHER_MATRICES]
    if not all(series.reaches(LONG) for series in arms):
        return {}
    by_matrix = [nearer_to_uniform(series) for series in arms]
    # the post does not name its matrix, so one of them is enough
    return {"actde.other-matrix": judge(np.concatenate(by_matrix).sum(), any(nearer.all() for nearer in by_matrix))}


def nearer_to_uniform(series: Series) -> NDArray[np.bool_]:
    shares = series.shares()
    return distance(shares, UNIFORM) < distance(shares, softmax_shares(series.payoff))


def matrix_notes(curves: Mapping[str, Series]) -> list[str]:
    softmax_column = "softmax: alternating, cooperate, defect"
    header = ["matrix", "best plan", softmax_column, "trials at the end", "nearer to uniform"]
    rows = []
    for series in (curves[arm.name] for arm in OTHER_MATRICES):
        if series.reaches(LONG):
            trials = "; ".join(", ".join(f"{share:.2f}" for share in trial) for trial in series.shares().T)
            softmax = ", ".join(f"{softmax_shares(series.payoff)[name]:.2f}" for name in SHARES)
            near_uniform = f"{nearer_to_uniform(series).sum()} of {series.trials}"
            rows.append([series.payoff, best_plan(PAYOFFS[series.payoff], GAMMA), softmax, trials, near_uniform])
    return [table(header, rows)] if rows else []


def distance(shares: Array, policy_shares: Mapping[str, float]) -> Array:
    """Return the L1 distance between each trial's `shares` [3, trials] and `policy_shares`."""
    return np.asarray(np.abs(shares - np.array([[policy_shares[name]] for name in SHARES])).sum(axis=0))


def alternates_most(shares: Array) -> NDArray[np.bool_]:
    """Return whether the alternating share, `shares[0]`, is the largest of `shares` [3, ...]."""
    return np.asarray(shares[0] > shares[1:].max(axis=0))


def smooth(series: Series) -> Array:
    """Return the moving average of the share of alternating games."""
    return np.stack([np.convolve(row, np.ones(SMOOTH) / SMOOTH, mode="valid") for row in series.column("alternate")])


def first_learned(series: Series) -> Array:
    """Return each trial's first gradient step with more than 90% alternating games."""
    # if there is no such step, the length of the trial
    learned = series.column("alternate") > LEARNED
    return np.asarray(np.where(learned.any(axis=1), learned.argmax(axis=1), series.rows.shape[1]) * EPOCHS, np.float64)
