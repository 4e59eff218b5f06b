"""The post's claims about ACTDE in the prisoner's dilemma, over ten trials, and the numbers in its figures."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from experiments.reproduce.finding import ACTDE_RESULTS, NOT_RUN, REPRODUCED, Finding, claim, not_run, parse_printed
from experiments.reproduce.ipd.arms import COLLAPSED, EARLY, LAST, LONG, SHARES, SHORT, UNIFORM, Series
from experiments.reproduce.ipd.claims import Claim, findings_of
from experiments.reproduce.ipd.matrix import softmax_shares
from experiments.reproduce.ipd.ppo import SMOOTH, smooth
from experiments.reproduce.ipd_kernel.trial import EPOCHS
from experiments.reproduce.statistics import (
    Array,
    Band,
    Judgement,
    above_zero,
    judge,
    next_deviation,
    next_mean,
    over_trials,
)

READ_OFF = (
    "The number, read off the public code's figure, lies in our band: the 95% interval for a repetition with as many"
    " trials as theirs."
)
POSITIVE = "The 95% interval of the mean over trials is above 0."
TRIALS = 10
WINDOW = f"steps {EARLY[0]} to {EARLY[1]}"


def findings(curves: Mapping[str, Series]) -> list[Finding]:
    """All claims about ACTDE with the post's matrix; `not run` if the trials that they need are missing."""
    actde, ppo = curves["actde"], curves["ppo"]
    whole = actde.reaches(LONG)
    return [
        *findings_of([*_over_time(actde), *_convergence(actde)], section=ACTDE_RESULTS, ready=whole),
        *findings_of(_beside_ppo(actde, ppo), section=ACTDE_RESULTS, ready=whole and ppo.reaches(SHORT)),
        *_figures(actde),
    ]


def notes(findings: Sequence[Finding]) -> list[str]:
    """How many of the figures' numbers lie in our bands."""
    read = [one for one in findings if one.criterion == READ_OFF and one.verdict != NOT_RUN]
    outside = [f"`{one.id}`" for one in read if one.verdict != REPRODUCED]
    tail = f"; not {', '.join(outside)}" if outside else ""
    return [f"Our bands contain {len(read) - len(outside)} of {len(read)} numbers read off the figures{tail}."] * bool(
        read
    )


def _over_time(actde: Series) -> list[Claim]:
    """What ACTDE "reliably does", and that its results are otherwise inconsistent."""

    def always() -> Judgement:
        rows = np.stack([actde.column(name)[:, EARLY[0] // EPOCHS :] for name in SHARES])
        share = _alternates_most(rows).mean()
        return judge(share, share > 0.95)

    return [
        Claim(
            id="ipd.actde.alternates-first",
            text=f"At first, ACTDE alternates with high probability (largest share of games within {SHORT:,} steps, of"
            f" curves averaged over {SMOOTH} rollouts).",
            criterion="It is above 80% in every trial; the band is for the mean.",
            judge=lambda: judge(
                over_trials(most := smooth(actde.until(SHORT)).max(axis=1)),
                (most > 0.8).all(),
            ),
        ),
        Claim(
            id="ipd.actde.regresses",
            text="Over time it tends to regress to a uniform (or softmax-return) policy (share of alternating games at"
            f" {WINDOW} minus that at the end).",
            criterion=POSITIVE,
            judge=lambda: above_zero(over_trials(actde.early("alternate") - actde.last("alternate"))),
        ),
        Claim(
            id="ipd.actde.closer-to-uniform",
            text=f"The same, measured by the distance from uniform (at {WINDOW} minus that at the end; the distance is"
            " the sum of absolute differences of the three shares).",
            criterion=POSITIVE,
            judge=lambda: above_zero(
                over_trials(distance(_early_shares(actde), UNIFORM) - distance(actde.shares(), UNIFORM))
            ),
        ),
        Claim(
            id="ipd.actde.alternates-most",
            text="Reliably, pi(alternating) > pi(cooperate), pi(defect) (share of trials, at the end).",
            criterion="It holds in all trials over the last 100 steps.",
            judge=lambda: judge(share := _alternates_most(actde.shares()).mean(), share == 1),
        ),
        Claim(
            id="ipd.actde.alternates-most-always",
            text=f"The same over the whole run from step {EARLY[0]} on (share of trials and rollouts).",
            criterion="It holds in more than 95% of all trials and rollouts.",
            judge=always,
        ),
        Claim(
            id="ipd.actde.inconsistent",
            text="The results are inconsistent between trials (standard deviation of the final share of alternating"
            " games).",
            criterion="It is above .05, the limit below which PPO's runs count as almost identical.",
            judge=lambda: judge(spread := float(actde.last("alternate").std(ddof=1)), spread > 0.05),
        ),
    ]


def _convergence(actde: Series) -> list[Claim]:
    """Whether it converges slowly, and to which policy."""

    def slow() -> Judgement:
        band = over_trials(actde.trend("alternate"))
        return judge(band, band["high"] < 0)

    def approaches() -> Judgement:
        end, middle = actde.shares(), actde.shares(LONG // 2 + LAST)
        band = over_trials(distance(middle, UNIFORM) - distance(end, UNIFORM))
        nearer = distance(end, UNIFORM).mean() < distance(end, softmax_shares()).mean()
        return judge(band, band["low"] > 0 and nearer)

    return [
        Claim(
            id="ipd.actde.slow",
            text="Convergence seems to be slow (change of the share of alternating games over the second half).",
            criterion="The share still falls after step 5,000: the 95% interval of the mean over trials is below 0.",
            judge=slow,
        ),
        Claim(
            id="ipd.actde.to-uniform",
            text="It could even be converging to the uniform policy (distance of the shares from uniform in the middle,"
            f" at step {LONG // 2:,}, minus that at the end).",
            criterion=f"{POSITIVE} And the end is nearer to uniform than to softmax-return.",
            judge=approaches,
        ),
    ]


def _beside_ppo(actde: Series, ppo: Series) -> list[Claim]:
    def mixed() -> Judgement:
        entropy = actde.last("entropy")
        collapsed = ppo.last("entropy", SHORT) < COLLAPSED
        return judge(over_trials(entropy), (entropy > COLLAPSED).all() and collapsed.all())

    def calmer() -> Judgement:
        pairs = min(actde.trials, ppo.trials)
        size, less = (one.between("advantage_abs", 0, EARLY[0])[:pairs] for one in (ppo, actde))
        return above_zero(over_trials(size - less))

    return [
        Claim(
            id="ipd.actde.no-collapse",
            text="Unlike PPO, ACTDE does not mode-collapse onto a pure strategy but learns mixed ones (entropy per"
            f" action after {LONG:,} steps, nats; for the post's recipe only, see Sensitivity for others).",
            criterion=f"It is above {COLLAPSED} nats in every trial, and PPO's is below after {SHORT:,} steps.",
            judge=mixed,
        ),
        Claim(
            id="ipd.actde.calmer",
            text="Training should be more stable, with smaller fluctuations of the advantage (mean |advantage| of PPO"
            f" minus ACTDE's while both learn, steps 0 to {EARLY[0]}).",
            criterion=POSITIVE,
            judge=calmer,
        ),
    ]


def _figures(actde: Series) -> list[Finding]:
    """Numbers read off the public code's figures."""
    results = [
        _read_off(actde, "trial-225", "One trial: alternating at step 225.", "0.92", 232, next_mean, 1),
        _read_off(actde, "mean-peak", "10 trials: alternating at the peak of their mean.", "0.92", LONG, next_mean),
    ]
    for step, mean, deviation in ((4000, "0.74", "0.17"), (LONG, "0.68", "0.11")):
        at = f"10 trials at step {step:,}: alternating"
        results.append(_read_off(actde, f"mean-{step}", f"{at}, mean.", mean, step, next_mean))
        name, text = f"deviation-{step}", f"{at}, standard deviation."
        results.append(_read_off(actde, name, text, deviation, step, next_deviation))
    return results


def _read_off(
    actde: Series,
    name: str,
    text: str,
    post: str,
    step: int,
    band_for: Callable[[Array, int], Band],
    trials: int = TRIALS,
) -> Finding:
    """A number of a figure beside our trials at the steps before `step`, or at the peak of their mean."""
    value, _ = parse_printed(post)
    if not actde.reaches(step):
        return not_run(f"ipd.actde.{name}", text, section=ACTDE_RESULTS, post=value, criterion=READ_OFF)
    curves = actde.column("alternate")
    peak = curves[:, int(curves.mean(axis=0).argmax())]
    band = band_for(peak if "peak" in name else actde.between("alternate", step - 12, step), trials)
    holds = band["low"] <= value <= band["high"]
    return claim(f"ipd.actde.{name}", text, section=ACTDE_RESULTS, post=value, criterion=READ_OFF, **judge(band, holds))


def distance(shares: Array, policy: Mapping[str, float]) -> Array:
    """[trials], the sum of absolute differences between shares [3, trials] and those of a policy."""
    return np.asarray(np.abs(shares - np.array([[policy[name]] for name in SHARES])).sum(axis=0))


def _early_shares(one: Series) -> Array:
    """[3, trials], means over the early window."""
    return np.array([one.early(name) for name in SHARES])


def _alternates_most(shares: Array) -> NDArray[np.bool_]:
    """[...], whether alternating is the largest of shares [3, ...]."""
    return np.asarray(shares[0] > shares[1:].max(axis=0))
