"""Part `ipd`: the post's iterated prisoner's dilemma, its payoffs, PPO, and ten trials of ACTDE.

The trials are those of `experiments/dilemma`; a finished one is kept in the report's folder and not run again. With no
workers the report is made of what is there.
"""

from pathlib import Path

import numpy as np

from experiments.reproduce import Outcome, Progress
from experiments.reproduce.ipd import actde, drawing, matrix, ppo
from experiments.reproduce.ipd.arms import IPD, OTHER_MATRIX, SHORT, Series, quickened, series

QUICK_STEPS = 80
PPO_FIGURE, FIRST_FIGURE, MEAN_FIGURE = "ipd-ppo.svg", "ipd-actde-trial.svg", "ipd-actde-mean.svg"
TRIALS_FIGURE, OTHER_FIGURE = "ipd-actde-trials.svg", "ipd-actde-matrix.svg"


def run(*, seed: int, quick: bool, folder: Path, workers: int, progress: Progress) -> Outcome:
    """All findings and figures: about an hour of two cores, or half a minute if `quick`."""
    arms = quickened(IPD, QUICK_STEPS) if quick else IPD
    found = series(arms, folder, seed=seed, workers=workers, progress=progress)
    findings = matrix.findings(np.random.default_rng(np.random.SeedSequence(seed)))
    findings += [*ppo.findings(found), *actde.findings(found)]
    return Outcome(findings, _figures(found, folder), _notes(found))


def _figures(found: dict[str, Series], folder: Path) -> dict[str, list[tuple[str, str]]]:
    lines, figures = matrix.softmax_shares(), {}
    plain, ten, other = found["ppo"], found["actde"], found[OTHER_MATRIX.name]
    variants = [(name, one, None) for name, one in found.items() if name.startswith("ppo") and one.trials]
    if plain.trials:
        drawing.panels(folder / PPO_FIGURE, variants, [lines] * len(variants), columns=2)
        caption = f"PPO: mean and standard deviation of {plain.trials} trials, without and with whitening and detached"
        figures[ppo.SECTION] = [(PPO_FIGURE, f"{caption} value head. Dotted: softmax over returns.")]
    pairs = []
    if ten.trials:
        early = ten.until(SHORT)
        panels = [(f"trial 0, to step {len(early.steps) * 4:,}", early, 0), ("trial 0, to the end", ten, 0)]
        drawing.panels(folder / FIRST_FIGURE, panels, [lines] * 2, columns=2)
        pairs.append((FIRST_FIGURE, "ACTDE: one trial, the first steps and all of them. No whitening, as in the post."))
        drawing.panels(folder / MEAN_FIGURE, [(f"{ten.trials} trials", ten, None)], [lines], columns=1)
        pairs.append((MEAN_FIGURE, f"ACTDE: mean and standard deviation of {ten.trials} trials."))
        drawing.fan(folder / TRIALS_FIGURE, [("ACTDE", ten)], columns=1)
        pairs.append((TRIALS_FIGURE, "ACTDE: the share of alternating games in every trial, and their mean."))
    if other.trials:
        dashes = matrix.softmax_shares(str(other.arm.recipe.payoff))
        titles = [("trial 0", other, 0), (f"{other.trials} trials", other, None)]
        drawing.panels(folder / OTHER_FIGURE, titles, [dashes] * 2, columns=2)
        pairs.append((OTHER_FIGURE, "ACTDE on another matrix: temptation 1 in place of 2. One trial, and all of them."))
    return figures | ({actde.SECTION: pairs} if pairs else {})


def _notes(found: dict[str, Series]) -> dict[str, list[str]]:
    trials = sum(one.trials for one in found.values())
    seconds = sum(one.seconds for one in found.values())
    ten = found["actde"]
    each = f"; a trial of ACTDE took {ten.seconds / ten.trials:.0f} s of one core" if ten.trials else ""
    return {actde.SECTION: [f"{trials} trials in {seconds / 3600:.1f} hours of processor time{each}."]}
