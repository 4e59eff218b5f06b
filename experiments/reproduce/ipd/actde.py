"""The post's claims about ACTDE in the prisoner's dilemma, over ten trials, and its figures as numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from experiments.dilemma.trial import EPOCHS
from experiments.reproduce import finding
from experiments.reproduce.finding import Finding
from experiments.reproduce.ipd.arms import LONG, OTHER_MATRICES, SHORT, Series
from experiments.reproduce.ipd.matrix import STRATEGIES, softmax_shares
from experiments.reproduce.ipd.statistics import mean_band, next_deviation, next_mean

SECTION = "ACTDE results"
UNIFORM = {"alternate": 0.5, "cooperate": 0.25, "defect": 0.25}
"""Shares of games under a fair coin."""
OVER = 25
"""Rollouts over which "the end" is a mean: 100 gradient steps."""
READ_OFF = "Read off the public code's figure; it lies in our 95% interval for a repetition of as many trials."
TRIALS = 10
CLAIM = "alternate"


def findings(found: Mapping[str, Series]) -> list[Finding]:
    """All claims about ACTDE; `not run` where the trials that they need are missing."""
    ten = found["actde"]
    return [*_reliably(ten), *_figures(ten), *_convergence(ten), *_summary(ten, found["ppo"]), *_other(found)]


def notes(findings: list[Finding]) -> list[str]:
    """Which of the figures' numbers our bands contain."""
    read = [one for one in findings if one.criterion == READ_OFF and one.verdict != finding.NOT_RUN]
    inside = [one for one in read if one.verdict == finding.REPRODUCED]
    if not read:
        return []
    outside = ", ".join(f"`{one.id}`" for one in read if one not in inside)
    tail = f"; not {outside}" if outside else ""
    return [f"Of {len(read)} numbers read off the public code's figures our bands contain {len(inside)}{tail}."]


def _reliably(ten: Series) -> list[Finding]:
    """The three things that ACTDE "reliably does", and that the rest is inconsistent."""
    run = _whole(ten)
    peak, end = (_peak(ten), ten.at(CLAIM, LONG, over=OVER)) if run else (np.ones(2), np.ones(2))
    most = _most(ten) if run else np.ones((2, 2), bool)
    drop = peak - end
    distance = _to_uniform(ten) if run else np.ones((2, 2))
    closer = distance[:, 0] - distance[:, 1]
    spread = float(end.std(ddof=1))
    words: list[tuple[str, str, Mapping[str, Any], bool, str]] = [
        (
            "ipd.actde.alternates-first",
            "ACTDE initially alternates with high probability (largest share within 1,000 steps, smoothed over 40).",
            mean_band(peak),
            bool((peak > 0.8).all()),
            "Every trial is above 80% at some time in the first 1,000 steps.",
        ),
        (
            "ipd.actde.regresses",
            "It tends to regress towards a uniform (or softmax-return) policy over time (peak share less the last).",
            mean_band(drop),
            mean_band(drop)["low"] > 0,
            "The 95% interval of the drop is above 0.",
        ),
        (
            "ipd.actde.closer-to-uniform",
            "The same, as distance (sum of absolute differences of the three shares) from uniform: at the peak less"
            " at the end.",
            mean_band(closer),
            mean_band(closer)["low"] > 0,
            "The 95% interval is above 0: trials end closer to uniform than they were at their peak.",
        ),
        (
            "ipd.actde.alternates-most",
            "pi(alternating) > pi(cooperate), pi(defect) (share of the trials at the end).",
            {"ours": float(most[:, -1].mean()), "low": None, "high": None},
            bool(most[:, -1].all()),
            "All trials, over the last 100 steps.",
        ),
        (
            "ipd.actde.alternates-most-always",
            "The same over the whole run after step 200 (share of trials and rollouts).",
            {"ours": float(most.mean()), "low": None, "high": None},
            bool(most.mean() > 0.95),
            "More than 95% of all trials and rollouts.",
        ),
        (
            "ipd.actde.inconsistent",
            "The results are inconsistent across trials (standard deviation of the last share of alternating games).",
            {"ours": spread, "low": None, "high": None},
            spread > 0.05,
            "It is above .05; PPO's is in its own section.",
        ),
    ]
    return _judged(words, run)


def _figures(ten: Series) -> list[Finding]:
    """Numbers read off the public code's figures."""
    run = _whole(ten)
    one = ten.at(CLAIM, 225, over=3) if ten.trials >= 2 else np.zeros(2)
    mean = ten.column(CLAIM).mean(axis=0) if run else np.zeros(2)
    top = ten.column(CLAIM)[:, int(mean.argmax())] if run else np.zeros(2)
    rows = [
        ("trial-225", "One trial: alternating at step 225.", "0.92", next_mean(one, 1), ten.trials >= 2),
        ("mean-peak", "Mean of 10 trials: alternating at the peak of the mean.", "0.92", next_mean(top, TRIALS), run),
    ]
    for step, middle, spread in ((4000, "0.74", "0.17"), (LONG, "0.68", "0.11")):
        sample = ten.at(CLAIM, step, over=5) if run else np.zeros(2)
        what = f"10 trials at step {step:,}: alternating"
        rows.append((f"mean-{step}", f"{what}, mean.", middle, next_mean(sample, TRIALS), run))
        rows.append((f"deviation-{step}", f"{what}, standard deviation.", spread, next_deviation(sample, TRIALS), run))
    made = []
    for name, text, post, band, judged in rows:
        got = finding.measured(f"ipd.actde.{name}", text, section=SECTION, post=post, criterion=READ_OFF, **band)
        made.append(got if judged else finding.unjudged(got))
    return made


def _convergence(ten: Series) -> list[Finding]:
    """Is it slow, and does it converge to uniform?"""
    run = _whole(ten)
    late = ten.column(CLAIM)[:, -(LONG // 8) :] if run else np.zeros((2, 2))
    slope = np.polyfit(np.arange(late.shape[1]) / late.shape[1], late.T, 1)[0]
    end = ten.at(CLAIM, LONG, over=OVER) if run else np.zeros(2)
    off = float(stats.ttest_1samp(end, UNIFORM[CLAIM]).pvalue) if run else 1.0
    words: list[tuple[str, str, Mapping[str, Any], bool, str]] = [
        (
            "ipd.actde.slow",
            "There seems to be slow convergence (change of the share of alternating games over the second half).",
            mean_band(slope),
            mean_band(slope)["high"] < 0 and mean_band(slope)["low"] > -UNIFORM[CLAIM],
            "The trend over the last 5,000 steps is down, its 95% interval below 0.",
        ),
        (
            "ipd.actde.to-uniform",
            "It could even be converging towards the uniform policy (share of alternating games at the end; uniform"
            " gives .5).",
            mean_band(end),
            off > 0.05,
            "After 10,000 steps the mean over trials is not distinguishable from .5 (t test, 5%).",
        ),
    ]
    return _judged(words, run)


def _summary(ten: Series, ppo: Series) -> list[Finding]:
    run = _whole(ten) and ppo.trials >= 2 and ppo.rows.shape[1] * EPOCHS >= SHORT
    entropy = ten.at("entropy", LONG, over=OVER) if run else np.ones(2)
    other = ppo.at("entropy", SHORT, over=OVER) if run else np.zeros(2)
    words: list[tuple[str, str, Mapping[str, Any], bool, str]] = [
        (
            "ipd.actde.no-collapse",
            "Unlike PPO, ACTDE does not collapse but learns mixed strategies (entropy per action at the end, nats;"
            f" PPO's after {SHORT:,} steps is {other.mean():.3f}).",
            mean_band(entropy),
            bool(entropy.min() > 2 * other.max()),
            "Every trial's entropy after 10,000 steps is more than twice that of any PPO trial after 1,000.",
        )
    ]
    return _judged(words, run)


def _other(found: Mapping[str, Series]) -> list[Finding]:
    """The trial on another matrix, for which the post gives no numbers, on each that it may have been."""
    made = []
    for arm in OTHER_MATRICES:
        other, payoff = found[arm.name], str(arm.recipe.payoff)
        run = _whole(other)
        lines = softmax_shares(payoff)
        shares = np.array([other.at(name, LONG, over=OVER) for name in STRATEGIES]) if run else np.ones((3, 2))
        to_uniform, to_softmax = (
            np.abs(shares - np.array([[line[name]] for name in STRATEGIES])).sum(axis=0) for line in (UNIFORM, lines)
        )
        nearer = to_softmax - to_uniform
        band = {"ours": float(nearer.mean()), "low": float(nearer.min()), "high": float(nearer.max())}
        words: list[tuple[str, str, Mapping[str, Any], bool, str]] = [
            (
                f"ipd.{arm.name.replace('actde-', 'actde.')}",
                "On another matrix it converges to uniform rather than to softmax-return (the post does not say on"
                f" which; here {payoff!r} of its public code: distance of the shares from softmax less that from"
                " uniform, at the end; least and most of the trials).",
                band,
                bool((nearer > 0).all()),
                "Every trial ends nearer to uniform than to softmax-return.",
            )
        ]
        made += _judged(words, run)
    return made


def _judged(words: list[tuple[str, str, Mapping[str, Any], bool, str]], run: bool) -> list[Finding]:
    made = [
        finding.claim(name, text, section=SECTION, holds=bool(holds), criterion=criterion, **band)
        for name, text, band, holds, criterion in words
    ]
    return made if run else [finding.unjudged(one) for one in made]


def _whole(one: Series) -> bool:
    return one.trials >= 2 and one.rows.shape[1] * EPOCHS >= LONG


def _peak(one: Series) -> NDArray[np.float64]:
    """[trials] the largest share of alternating games within 1,000 steps, as a mean over ten rollouts."""
    early = one.until(SHORT).column(CLAIM)
    smooth = np.stack([np.convolve(row, np.ones(10) / 10, mode="valid") for row in early])
    return np.asarray(smooth.max(axis=1))


def _most(one: Series) -> NDArray[np.bool_]:
    """[trials, rollouts from step 200 on, and at last the end] whether most games alternate."""
    rows = {name: one.column(name)[:, 50:] for name in STRATEGIES}
    ends = {name: one.at(name, LONG, over=OVER)[:, None] for name in STRATEGIES}
    whole = {name: np.concatenate([rows[name], ends[name]], axis=1) for name in STRATEGIES}
    return np.asarray(whole[CLAIM] > np.maximum(whole["cooperate"], whole["defect"]))


def _to_uniform(one: Series) -> NDArray[np.float64]:
    """[trials, 2] distance from uniform, at the peak of alternation and at the end."""
    early = one.until(SHORT).column(CLAIM).argmax(axis=1)
    trials = np.arange(one.trials)
    at_peak = np.array([one.column(name)[trials, early] - UNIFORM[name] for name in STRATEGIES])
    at_end = np.array([one.at(name, LONG, over=OVER) - UNIFORM[name] for name in STRATEGIES])
    return np.stack([np.abs(at_peak).sum(axis=0), np.abs(at_end).sum(axis=0)], axis=1)
