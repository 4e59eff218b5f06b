"""Part `ipd`: reproduce the iterated prisoner's dilemma of the post by Turner and Einhorn (2023).

The part checks the payoffs, trains PPO, and trains ten trials of ACTDE. `ipd_trials` runs the trials. The training
curves of finished trials are stored in the report's folder, and these trials are not run again. With 0 workers, no
trial is run, and the report covers the stored trials.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from experiments.reproduce import Outcome, Progress
from experiments.reproduce.finding import ACTDE_RESULTS, PPO_RESULTS, Section, judged
from experiments.reproduce.ipd import actde_findings, matrix, ppo_findings
from experiments.reproduce.ipd.arms import IPD, OTHER_MATRICES, SHORT, Series, run_arms, shortened
from experiments.reproduce.ipd.drawing import plot_shares, plot_trials

QUICK_STEPS = 80
Figures = list[tuple[str, str]]


def run(*, seed: int, quick: bool, folder: Path, workers: int, progress: Progress) -> Outcome:
    """Run the missing trials and return all findings and figures.

    A full run takes about an hour on two cores. A quick run takes a minute.
    """
    arms = shortened(IPD, QUICK_STEPS) if quick else IPD
    curves = run_arms(arms, folder, seed=seed, quick=quick, workers=workers, progress=progress)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    findings = judged("ipd", matrix.measure(rng) | ppo_findings.measure(curves) | actde_findings.measure(curves))
    notes = {ACTDE_RESULTS: [*actde_findings.notes(findings), *actde_findings.matrix_notes(curves), _cost(curves)]}
    figures: dict[Section, Figures] = {
        PPO_RESULTS: _ppo_figures(curves, folder),
        ACTDE_RESULTS: [*_actde_figures(curves["actde"], folder), *_matrix_figures(curves, folder)],
    }
    drawn = {section: pairs for section, pairs in figures.items() if pairs}
    return Outcome(findings, drawn, notes, sum(one.seconds for one in curves.values()))


def _ppo_figures(curves: Mapping[str, Series], folder: Path) -> Figures:
    plain, name = curves["ppo"], "ipd-ppo.svg"
    if not plain.trials:
        return []
    panels = [(name, one.until(SHORT), None) for name, one in curves.items() if name.startswith("ppo") and one.trials]
    plot_shares(folder / name, panels, [matrix.softmax_shares()] * len(panels), columns=2)
    caption = f"PPO: mean and standard deviation of {plain.trials} trials, with and without whitening and a detached"
    return [(name, f"{caption} value head. Dashed: softmax over returns.")]


def _actde_figures(actde: Series, folder: Path) -> Figures:
    if not actde.trials:
        return []
    lines, early = matrix.softmax_shares(), actde.until(SHORT)
    first, mean, trials = "ipd-actde-trial.svg", "ipd-actde-mean.svg", "ipd-actde-trials.svg"
    panels = [(f"trial 0, to step {one.end:,}", one, 0) for one in (early, actde)]
    plot_shares(folder / first, panels, [lines] * 2, columns=2)
    plot_shares(folder / mean, [(f"{actde.trials} trials", actde, None)], [lines], columns=1)
    plot_trials(folder / trials, [("ACTDE", actde)], columns=1)
    return [
        (first, "ACTDE: one trial, its first steps and all of them. No whitening, as in the post."),
        (mean, f"ACTDE: mean and standard deviation of {actde.trials} trials."),
        (trials, "ACTDE: the share of alternating games in every trial, and the mean."),
    ]


def _matrix_figures(curves: Mapping[str, Series], folder: Path) -> Figures:
    arms, name = [curves[arm.name] for arm in OTHER_MATRICES if curves[arm.name].trials], "ipd-actde-matrix.svg"
    if not arms:
        return []
    payoffs = [str(one.arm.recipe.payoff) for one in arms]
    panels = [(payoff, one, None) for payoff, one in zip(payoffs, arms, strict=True)]
    plot_shares(folder / name, panels, [matrix.softmax_shares(payoff) for payoff in payoffs], columns=len(arms))
    trials = ", ".join(str(one.trials) for one in arms)
    caption = f"ACTDE on the other matrices of the public code: mean and standard deviation ({trials} trials)."
    return [(name, f"{caption} Dashed: softmax over returns.")]


def _cost(curves: Mapping[str, Series]) -> str:
    """Return a sentence with the number of trials and their processor time."""
    trials = sum(one.trials for one in curves.values())
    seconds = sum(one.seconds for one in curves.values())
    actde = curves["actde"]
    each = f"; a trial of ACTDE took {actde.seconds / actde.trials:.0f} s of one core" if actde.trials else ""
    return f"{trials} trials took {seconds / 3600:.1f} hours of processor time{each}."
