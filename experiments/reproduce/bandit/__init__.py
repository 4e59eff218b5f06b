"""Part `bandit`: the post's tabular bandit, its appendix and its footnotes, from the learners of actde/tabular.py.

What is measured stands in the files beside this one; here they are run one after the other, each with random numbers
of its own.
"""

from pathlib import Path

import numpy as np

from experiments.reproduce import Outcome, Progress
from experiments.reproduce.bandit import (
    appendix,
    bellman,
    exploring,
    factors,
    growth,
    limits,
    notes,
    schedules,
    sequence,
    speculation,
    tables,
)
from experiments.reproduce.bandit.lanes import simulate
from experiments.reproduce.finding import Finding
from experiments.reproduce.seeds import banded


def run(*, seed: int, quick: bool, folder: Path, workers: int, progress: Progress) -> Outcome:
    """All findings and figures; about a minute and a half, or seconds if `quick`. Uses one process."""
    rngs = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(6)]
    steps, seeds = (10_000, 20) if quick else (1_000_000, 100)
    course = simulate(
        [*growth.LANES, *limits.LANES],
        steps=steps,
        seeds=seeds,
        rng=rngs[0],
        progress=lambda text, done, total: progress(text, 0.8 * done / total, 1),
    )
    found: list[Finding] = []
    for module in (growth, schedules, limits):
        found += module.findings(course, quick=quick)
    progress("exploration", 0.8, 1)
    found += exploring.findings(rngs[1], quick=quick)
    progress("shifts and factors", 0.85, 1)
    shifts = appendix.shifted(rngs[2], quick=quick)
    bandits = [appendix.random_bandit(rngs[3]) for _ in range(20 if quick else 300)]
    found += [*appendix.findings(shifts, bandits, rngs[3]), *factors.findings(bandits, rngs[3])]
    progress("sequences", 0.9, 1)
    found += [*sequence.findings(rngs[4], quick=quick), *bellman.findings(rngs[5], quick=quick)]
    found = [*tables.findings(), *banded(found), *speculation.findings()]
    growth.figure(course, folder / growth.FIGURE)
    appendix.figure(shifts, folder / appendix.FIGURE)
    sequence.figure(rngs[4], folder / sequence.FIGURE, quick=quick)
    figures = {
        growth.FOOTNOTE: [(growth.FIGURE, growth.CAPTION)],
        appendix.SECTION: [(appendix.FIGURE, appendix.CAPTION)],
        sequence.SECTION: [(sequence.FIGURE, sequence.CAPTION)],
    }
    words = notes.standing(found)
    for section, texts in ({} if quick else schedules.notes(course)).items():
        words[section] = [*texts, *words.get(section, [])]
    return Outcome(found, figures, words)
