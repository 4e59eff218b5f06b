"""Reproduce the prisoner's dilemma of Turner and Einhorn (2023)."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from experiments.reproduce import Outcome, Progress
from experiments.reproduce.finding import ACTDE_RESULTS, PPO_RESULTS, judge_claims
from experiments.reproduce.ipd import findings, payoff_matrix
from experiments.reproduce.ipd.arms import IPD, OTHER_MATRICES, SHORT, Series, run_arms
from experiments.reproduce.ipd.drawing import plot_shares, plot_trials

QUICK_STEPS = 80


def run(
    *, seed: int, quick: bool, folder: Path, workers: int | None, cluster: str | None = None, progress: Progress
) -> Outcome:
    """Measure the claims about the prisoner's dilemma. A full run takes about an hour on two cores."""
    steps = QUICK_STEPS if quick else None
    curves = run_arms(IPD, folder, seed=seed, quick_steps=steps, workers=workers, cluster=cluster, progress=progress)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    from_trials = findings.measure_ppo(curves) | findings.measure_actde(curves)
    judgements = judge_claims("ipd", payoff_matrix.measure(rng) | from_trials)
    notes = {ACTDE_RESULTS: [*findings.notes(judgements), *findings.matrix_notes(curves), _cost_note(curves)]}
    figures = {PPO_RESULTS: _ppo_figures(curves, folder), ACTDE_RESULTS: _actde_figures(curves, folder)}
    shown = {section: pairs for section, pairs in figures.items() if pairs}
    return Outcome(judgements, shown, notes, sum(series.seconds for series in curves.values()))


def _ppo_figures(curves: Mapping[str, Series], folder: Path) -> list[tuple[str, str]]:
    name, trials = "ipd-ppo.svg", curves["ppo"].trials
    panels = [
        (arm, series.until(SHORT), None) for arm, series in curves.items() if arm.startswith("ppo") and series.trials
    ]
    if not trials:
        return []
    plot_shares(folder / name, panels, columns=2)
    caption = (
        f"PPO: mean and standard deviation of {trials} trials, with and without whitening and a detached value head"
    )
    return [(name, f"{caption}. Dashed: softmax over returns.")]


def _actde_figures(curves: Mapping[str, Series], folder: Path) -> list[tuple[str, str]]:
    figures, actde = [], curves["actde"]
    other_matrices = [curves[arm.name] for arm in OTHER_MATRICES if curves[arm.name].trials]
    if actde.trials:
        one_trial, mean, trials = "ipd-actde-trial.svg", "ipd-actde-mean.svg", "ipd-actde-trials.svg"
        panels = [(f"trial 0, to step {series.end:,}", series, 0) for series in (actde.until(SHORT), actde)]
        plot_shares(folder / one_trial, panels, columns=2)
        plot_shares(folder / mean, [(f"{actde.trials} trials", actde, None)], columns=1)
        plot_trials(folder / trials, [("ACTDE", actde)], columns=1)
        figures += [
            (one_trial, "ACTDE: one trial, its first steps and all of them. No whitening, as in the post."),
            (mean, f"ACTDE: mean and standard deviation of {actde.trials} trials."),
            (trials, "ACTDE: the share of alternating games in every trial, and the mean."),
        ]
    if other_matrices:
        name, counts = "ipd-actde-matrix.svg", ", ".join(str(series.trials) for series in other_matrices)
        plot_shares(
            folder / name, [(series.payoff, series, None) for series in other_matrices], columns=len(other_matrices)
        )
        caption = f"ACTDE on the other matrices of the public code: mean and standard deviation ({counts} trials)."
        figures.append((name, f"{caption} Dashed: softmax over returns."))
    return figures


def _cost_note(curves: Mapping[str, Series]) -> str:
    trials, seconds = (sum(getattr(series, name) for series in curves.values()) for name in ("trials", "seconds"))
    actde = curves["actde"]
    per_trial = f"; a trial of ACTDE took {actde.seconds / actde.trials:.0f} s of one core" if actde.trials else ""
    return f"{trials} trials took {seconds / 3600:.1f} hours of processor time{per_trial}."
