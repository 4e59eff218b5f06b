"""The post's claims about ACTDE in the prisoner's dilemma, over ten trials, and its figures as numbers."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from experiments.reproduce import finding
from experiments.reproduce.finding import Finding
from experiments.reproduce.ipd.arms import COLLAPSED, EARLY, LAST, LONG, SHARES, SHORT, UNIFORM, Series
from experiments.reproduce.ipd.claims import Claim, Judgement, judged, number
from experiments.reproduce.ipd.matrix import softmax_shares
from experiments.reproduce.ipd.ppo import SMOOTH, smooth
from experiments.reproduce.ipd.statistics import mean_band, next_deviation, next_mean
from experiments.reproduce.ipd_trials.trial import EPOCHS
from experiments.reproduce.seeds import Band

SECTION = "ACTDE results"
READ_OFF = (
    "Read off the public code's figure, it lies in our band: the 95% interval for a repetition with as many trials as"
    " theirs."
)
POSITIVE = "The 95% interval for the mean over trials is above 0."
TRIALS = 10
WINDOW = f"steps {EARLY[0]} to {EARLY[1]}"


def findings(found: Mapping[str, Series]) -> list[Finding]:
    """All claims about ACTDE with the post's matrix; `not run` where the trials that they need are missing."""
    ten, ppo = found["actde"], found["ppo"]
    whole = ten.reaches(LONG)
    both = whole and ppo.reaches(SHORT)
    return [
        *judged([*_reliably(ten), *_convergence(ten)], section=SECTION, ready=whole),
        *judged(_beside_ppo(ten, ppo), section=SECTION, ready=both),
        *_figures(ten),
    ]


def notes(findings: Sequence[Finding]) -> list[str]:
    """Which of the figures' numbers our bands contain."""
    read = [one for one in findings if one.criterion == READ_OFF and one.verdict != finding.NOT_RUN]
    inside = [one for one in read if one.verdict == finding.REPRODUCED]
    if not read:
        return []
    outside = ", ".join(f"`{one.id}`" for one in read if one not in inside)
    tail = f"; not {outside}" if outside else ""
    return [f"Of {len(read)} numbers read off the public code's figures our bands contain {len(inside)}{tail}."]


def _reliably(ten: Series) -> list[Claim]:
    """The three things that ACTDE "reliably does", and that the rest is inconsistent."""

    def at_first() -> Judgement:
        most = smooth(ten.until(SHORT)).max(axis=1)
        return mean_band(most), bool((most > 0.8).all())

    def regresses() -> Judgement:
        return _above_0(ten.early("alternate") - ten.last("alternate"))

    def closer() -> Judgement:
        return _above_0(distance(_shares(ten, early=True), UNIFORM) - distance(_shares(ten), UNIFORM))

    def most() -> Judgement:
        share = _most(_shares(ten)).mean()
        return number(share), bool(share == 1)

    def always() -> Judgement:
        rows = np.stack([ten.column(name)[:, EARLY[0] // EPOCHS :] for name in SHARES])
        share = _most(rows).mean()
        return number(share), bool(share > 0.95)

    def inconsistent() -> Judgement:
        spread = float(ten.last("alternate").std(ddof=1))
        return number(spread), spread > 0.05

    return [
        Claim(
            id="ipd.actde.alternates-first",
            text="ACTDE initially alternates with high probability (largest share of games within"
            f" {SHORT:,} steps, of curves averaged over {SMOOTH} rollouts).",
            criterion="It is above 80% in every trial; the band is for the mean.",
            judge=at_first,
        ),
        Claim(
            id="ipd.actde.regresses",
            text="It tends to regress towards a uniform (or softmax-return) policy over time (share of alternating"
            f" games at {WINDOW} less that at the end).",
            criterion=POSITIVE,
            judge=regresses,
        ),
        Claim(
            id="ipd.actde.closer-to-uniform",
            text="The same as distance from uniform, the sum of absolute differences of the three shares: at"
            f" {WINDOW} less at the end.",
            criterion=POSITIVE,
            judge=closer,
        ),
        Claim(
            id="ipd.actde.alternates-most",
            text="Reliably, pi(alternating) > pi(cooperate), pi(defect) (share of the trials, at the end).",
            criterion="All trials, over the last 100 steps.",
            judge=most,
        ),
        Claim(
            id="ipd.actde.alternates-most-always",
            text=f"The same over the whole run from step {EARLY[0]} on (share of trials and rollouts).",
            criterion="More than 95% of all trials and rollouts.",
            judge=always,
        ),
        Claim(
            id="ipd.actde.inconsistent",
            text="The results are inconsistent across trials (standard deviation of the last share of alternating"
            " games).",
            criterion="It is above .05, which PPO's is held below in its own section.",
            judge=inconsistent,
        ),
    ]


def _convergence(ten: Series) -> list[Claim]:
    """Is it slow, and where does it go?"""

    def slow() -> Judgement:
        band = mean_band(ten.trend("alternate"))
        return band, band["high"] < 0

    def approaches() -> Judgement:
        half, end = LONG // 2, _shares(ten)
        middle = np.array([ten.between(name, half, half + LAST) for name in SHARES])
        band = mean_band(distance(middle, UNIFORM) - distance(end, UNIFORM))
        nearer = distance(end, UNIFORM).mean() < distance(end, softmax_shares()).mean()
        return band, band["low"] > 0 and bool(nearer)

    return [
        Claim(
            id="ipd.actde.slow",
            text="There seems to be slow convergence (change of the share of alternating games over the second half).",
            criterion="It still goes down after step 5,000: the 95% interval for the mean over trials is below 0.",
            judge=slow,
        ),
        Claim(
            id="ipd.actde.to-uniform",
            text="It could even be converging towards the uniform policy (distance of the shares from it in the middle,"
            f" at step {LONG // 2:,}, less that at the end).",
            criterion=f"{POSITIVE} And the end is nearer to uniform than to softmax-return.",
            judge=approaches,
        ),
    ]


def _beside_ppo(ten: Series, ppo: Series) -> list[Claim]:
    def mixed() -> Judgement:
        entropy = ten.last("entropy")
        pure = ppo.last("entropy", SHORT)
        return mean_band(entropy), bool((entropy > COLLAPSED).all() and (pure < COLLAPSED).all())

    def calmer() -> Judgement:
        pairs = min(ten.trials, ppo.trials)
        means = [one.between("advantage_abs", 0, EARLY[0])[:pairs] for one in (ppo, ten)]
        return _above_0(means[0] - means[1])

    return [
        Claim(
            id="ipd.actde.no-collapse",
            text="Unlike PPO, ACTDE does not mode-collapse onto a pure strategy but learns mixed ones (entropy per"
            f" action after {LONG:,} steps, nats; with the post's recipe, for others see Sensitivity).",
            criterion=f"Every trial's is above {COLLAPSED} nats, and PPO's below it after {SHORT:,} steps.",
            judge=mixed,
        ),
        Claim(
            id="ipd.actde.calmer",
            text="Training should be more stable, with fewer fluctuations in advantage (mean |advantage| of PPO less"
            f" ACTDE's while both learn, steps 0 to {EARLY[0]}).",
            criterion=POSITIVE,
            judge=calmer,
        ),
    ]


def _figures(ten: Series) -> list[Finding]:
    """Numbers read off the public code's figures."""
    made = [
        _read_off(ten, "trial-225", "One trial: alternating at step 225.", "0.92", 232, next_mean, 1),
        _read_off(ten, "mean-peak", "10 trials: alternating at the peak of their mean.", "0.92", LONG, next_mean),
    ]
    for step, middle, spread in ((4000, "0.74", "0.17"), (LONG, "0.68", "0.11")):
        what = f"10 trials at step {step:,}: alternating"
        made.append(_read_off(ten, f"mean-{step}", f"{what}, mean.", middle, step, next_mean))
        made.append(_read_off(ten, f"deviation-{step}", f"{what}, standard deviation.", spread, step, next_deviation))
    return made


def _read_off(
    ten: Series,
    name: str,
    text: str,
    post: str,
    step: int,
    band: Callable[[NDArray[np.float64], int], Band],
    trials: int = TRIALS,
) -> Finding:
    """A number of the figures beside our trials at the steps before `step`, or at the peak of their mean."""
    key = f"ipd.actde.{name}"
    if not ten.reaches(step):
        value, _ = finding.printed(post)
        return finding.not_run(key, text, section=SECTION, post=value, criterion=READ_OFF)
    curves = ten.column("alternate")
    peak = curves[:, int(curves.mean(axis=0).argmax())]
    sample = peak if "peak" in name else ten.between("alternate", step - 12, step)
    return finding.measured(key, text, section=SECTION, post=post, criterion=READ_OFF, **band(sample, trials))


def distance(shares: NDArray[np.float64], line: Mapping[str, float]) -> NDArray[np.float64]:
    """[trials] sum of absolute differences of shares [3, trials] from those of a policy."""
    return np.asarray(np.abs(shares - np.array([[line[name]] for name in SHARES])).sum(axis=0))


def _shares(one: Series, *, early: bool = False) -> NDArray[np.float64]:
    """[3, trials] at first, or at the end."""
    return np.array([one.early(name) if early else one.last(name) for name in SHARES])


def _most(shares: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether alternating is the largest of shares [3, ...]."""
    return np.asarray(shares[0] > shares[1:].max(axis=0))


def _above_0(sample: NDArray[np.float64]) -> Judgement:
    band = mean_band(sample)
    return band, band["low"] > 0
