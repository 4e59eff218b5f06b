"""Part `ipd`: the post's iterated prisoner's dilemma, its payoffs, PPO, and ten trials of ACTDE.

The trials are those of `experiments/dilemma`; a finished one is kept in the report's folder and not run again. With no
workers the report is made of what is there.
"""

from pathlib import Path

import numpy as np

from experiments.reproduce import Outcome, Progress
from experiments.reproduce.ipd import actde, drawing, matrix, others, ppo
from experiments.reproduce.ipd.arms import IPD, OTHER_MATRICES, SHORT, Series, quickened, series

QUICK_STEPS = 80
PPO_FIGURE, FIRST_FIGURE, MEAN_FIGURE = "ipd-ppo.svg", "ipd-actde-trial.svg", "ipd-actde-mean.svg"
TRIALS_FIGURE, OTHER_FIGURE = "ipd-actde-trials.svg", "ipd-actde-matrix.svg"


def run(*, seed: int, quick: bool, folder: Path, workers: int, progress: Progress) -> Outcome:
    """All findings and figures: about an hour of two cores, or half a minute if `quick`."""
    arms = quickened(IPD, QUICK_STEPS) if quick else IPD
    found = series(arms, folder, seed=seed, quick=quick, workers=workers, progress=progress)
    findings = matrix.findings(np.random.default_rng(np.random.SeedSequence(seed)))
    about_actde = actde.findings(found)
    findings += [*ppo.findings(found), *about_actde, *others.findings(found)]
    notes = {actde.SECTION: [*actde.notes(about_actde), *others.notes(found), cost(found)]}
    return Outcome(findings, _figures(found, folder), notes, sum(one.seconds for one in found.values()))


def _figures(found: dict[str, Series], folder: Path) -> dict[str, list[tuple[str, str]]]:
    lines, figures = matrix.softmax_shares(), {}
    plain, ten = found["ppo"], found["actde"]
    variants = [(name, one.until(SHORT), None) for name, one in found.items() if name.startswith("ppo") and one.trials]
    if plain.trials:
        drawing.panels(folder / PPO_FIGURE, variants, [lines] * len(variants), columns=2)
        caption = f"PPO: mean and standard deviation of {plain.trials} trials, without and with whitening and detached"
        figures[ppo.SECTION] = [(PPO_FIGURE, f"{caption} value head. Dashed: softmax over returns.")]
    pairs = []
    if ten.trials:
        early = ten.until(SHORT)
        parts = [(f"trial 0, to step {early.end:,}", early, 0), (f"trial 0, to step {ten.end:,}", ten, 0)]
        drawing.panels(folder / FIRST_FIGURE, parts, [lines] * 2, columns=2)
        pairs.append((FIRST_FIGURE, "ACTDE: one trial, the first steps and all of them. No whitening, as in the post."))
        drawing.panels(folder / MEAN_FIGURE, [(f"{ten.trials} trials", ten, None)], [lines], columns=1)
        pairs.append((MEAN_FIGURE, f"ACTDE: mean and standard deviation of {ten.trials} trials."))
        drawing.fan(folder / TRIALS_FIGURE, [("ACTDE", ten)], columns=1)
        pairs.append((TRIALS_FIGURE, "ACTDE: the share of alternating games in every trial, and their mean."))
    others_run = [found[arm.name] for arm in OTHER_MATRICES if found[arm.name].trials]
    if others_run:
        panels = [(str(one.arm.recipe.payoff), one, None) for one in others_run]
        dashes = [matrix.softmax_shares(str(one.arm.recipe.payoff)) for one in others_run]
        drawing.panels(folder / OTHER_FIGURE, panels, dashes, columns=len(others_run))
        trials = ", ".join(str(one.trials) for one in others_run)
        caption = f"ACTDE on the other matrices of the public code: mean and standard deviation ({trials} trials)."
        pairs.append((OTHER_FIGURE, f"{caption} Dashed: softmax over returns."))
    return figures | ({actde.SECTION: pairs} if pairs else {})


def cost(found: dict[str, Series]) -> str:
    """How many trials there are and what they took."""
    trials = sum(one.trials for one in found.values())
    seconds = sum(one.seconds for one in found.values())
    ten = found["actde"]
    each = f"; a trial of ACTDE took {ten.seconds / ten.trials:.0f} s of one core" if ten.trials else ""
    return f"{trials} trials in {seconds / 3600:.1f} hours of processor time{each}."
