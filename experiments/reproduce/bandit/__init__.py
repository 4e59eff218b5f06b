"""Reproduce the claims of Turner and Einhorn (2023) about tabular learners."""

from pathlib import Path

import numpy as np

from experiments.reproduce import Outcome, Progress
from experiments.reproduce.bandit import appendix, bellman, exploration, growth, limits, post_tables, sequential
from experiments.reproduce.bandit.vectorized import simulate
from experiments.reproduce.finding import FOOTNOTE_2, FOOTNOTE_3, NOTES, judge_claims, supported_notes
from experiments.reproduce.statistics import BAND


def run(
    *, seed: int, quick: bool, folder: Path, workers: int | None, cluster: str | None = None, progress: Progress
) -> Outcome:
    """Measure the claims about tabular learners. A full run takes about 90 s."""
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
        **growth.measure(curves, quick=quick),
        **limits.measure(curves, quick=quick),
        **exploration.measure(rngs[1], quick=quick),
    }
    progress("shifts and factors", 0.85, 1)
    shift_curves = appendix.simulate_shifts(rngs[2], quick=quick)
    bandits = [appendix.random_bandit(rngs[3]) for _ in range(20 if quick else 300)]
    measurements |= appendix.measure(shift_curves, bandits, rngs[3])
    progress("sequences", 0.9, 1)
    measurements |= sequential.measure(rngs[4], quick=quick) | bellman.measure(rngs[5], quick=quick)
    findings = judge_claims("bandit", measurements, band=BAND)
    growth.draw_figure(curves, folder / growth.FIGURE)
    appendix.draw_figure(shift_curves, folder / appendix.FIGURE)
    sequential.draw_figure(rngs[4], folder / sequential.FIGURE, quick=quick)
    figures = {
        FOOTNOTE_2: [(growth.FIGURE, growth.CAPTION)],
        NOTES: [(appendix.FIGURE, appendix.CAPTION)],
        FOOTNOTE_3: [(sequential.FIGURE, sequential.CAPTION)],
    }
    notes = supported_notes("bandit", findings)
    for section, paragraphs in ({} if quick else growth.notes(curves)).items():
        notes[section] = [*paragraphs, *notes.get(section, [])]
    return Outcome(findings, figures, notes)
