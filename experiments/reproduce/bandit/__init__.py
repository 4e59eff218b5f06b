"""Part `bandit`: reproduce the tabular claims of the post by Turner and Einhorn (2023).

The claims are about the post's bandit, its appendix and its footnotes. The learners are those of actde/tabular.py.
"""

from pathlib import Path

import numpy as np

from experiments.reproduce import Outcome, Progress
from experiments.reproduce.bandit import appendix, bellman, exploration, growth, limits, notes, post_tables, sequential
from experiments.reproduce.bandit.vectorized import simulate
from experiments.reproduce.finding import FOOTNOTE_2, FOOTNOTE_3, NOTES, judged
from experiments.reproduce.statistics import BAND


def run(
    *, seed: int, quick: bool, folder: Path, workers: int | None, cluster: str | None = None, progress: Progress
) -> Outcome:
    """Run all experiments of the part in one process. A full run takes a minute and a half, and a quick run seconds."""
    rngs = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(6)]
    steps, seeds = (10_000, 20) if quick else (1_000_000, 100)
    curves = simulate(
        [*growth.LEARNERS, *limits.LEARNERS],
        steps=steps,
        seeds=seeds,
        rng=rngs[0],
        progress=lambda text, done, total: progress(text, 0.8 * done / total, 1),
    )
    progress("exploration", 0.8, 1)
    measurements = {
        **post_tables.measure(),
        **growth.measure_fixed(curves, quick=quick),
        **limits.measure(curves, quick=quick),
        **exploration.measure(rngs[1], quick=quick),
    }
    progress("shifts and factors", 0.85, 1)
    shifts = appendix.simulate_shifts(rngs[2], quick=quick)
    bandits = [appendix.random_bandit(rngs[3]) for _ in range(20 if quick else 300)]
    measurements |= appendix.measure(shifts, bandits, rngs[3])
    progress("sequences", 0.9, 1)
    measurements |= sequential.measure(rngs[4], quick=quick) | bellman.measure(rngs[5], quick=quick)
    if not quick:  # a quick run has too few steps to measure the schedules
        measurements |= growth.measure_schedules(curves)
    findings = judged("bandit", measurements, band=BAND)
    growth.figure(curves, folder / growth.FIGURE)
    appendix.figure(shifts, folder / appendix.FIGURE)
    sequential.figure(rngs[4], folder / sequential.FIGURE, quick=quick)
    figures = {
        FOOTNOTE_2: [(growth.FIGURE, growth.CAPTION)],
        NOTES: [(appendix.FIGURE, appendix.CAPTION)],
        FOOTNOTE_3: [(sequential.FIGURE, sequential.CAPTION)],
    }
    texts = notes.supported(findings)
    for section, paragraphs in ({} if quick else growth.notes(curves)).items():
        texts[section] = [*paragraphs, *texts.get(section, [])]
    return Outcome(findings, figures, texts)
