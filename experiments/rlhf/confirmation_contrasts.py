"""Seeds and tested differences of `confirmation.py`, all fixed before the first run."""

from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from typing import Any, NamedTuple

from experiments.rlhf.contrasts import contrast_row, with_holm_p

SEEDS = tuple(range(2000, 2010))
PAIRS = (("actde", "ppo"), ("actde", "ppo-kl"), ("actde", "ppo-slow"))
MEASURES = ("entropy", "distinct_2", "true_reward")
AXES = ("reward", "kl")
SHARE = 0.9  # of the common range, where runs are compared; measures at the end of the range would be noisier
SIGNIFICANT = 0.05  # p-values after Holm's correction that are lower than this are significant
Run = Mapping[str, Any]


class Contrast(NamedTuple):
    """Comparison of `measure` between settings `first` and `second`, where `axis` (such as reward) is equal."""

    axis: str
    measure: str
    first: str
    second: str


CONTRASTS = [
    Contrast(axis, measure, *pair) for axis, pair, measure in product(AXES, PAIRS, (*MEASURES, "kl")) if measure != axis
]


def at_level(probes: Sequence[Mapping[str, Any]], axis: str, level: float, measure: str) -> float:
    """Linearly interpolate `measure` between probes, at the first point where `axis` reaches `level`."""
    if probes[0][axis] >= level:
        return float(probes[0][measure])
    for before, after in pairwise(probes):
        if before[axis] < level <= after[axis]:
            share = (level - before[axis]) / (after[axis] - before[axis])
            return float(before[measure] + share * (after[measure] - before[measure]))
    raise ValueError(f"the curve reaches {max(probe[axis] for probe in probes):g}, not {level:g}")


def at_common_level(first: Run, second: Run, axis: str, measure: str) -> tuple[float, float]:
    """Return `measure` of both runs at the same value of `axis`.

    The value lies `SHARE` of the way from the first run's initial value to the highest value that both runs reach.
    """
    start = first["probes"][0][axis]
    highest = min(max(probe[axis] for probe in run["probes"]) for run in (first, second))
    level = start + SHARE * (highest - start)
    return at_level(first["probes"], axis, level, measure), at_level(second["probes"], axis, level, measure)


def contrast_rows(
    runs: Sequence[Run], contrasts: Sequence[Contrast] = CONTRASTS, seeds: Sequence[int] = SEEDS
) -> list[dict[str, Any]]:
    """Return a row for each contrast that has results from at least two seeds."""
    by_seed = {(run["cell"], run["seed"]): run for run in runs}
    rows = []
    for axis, measure, *cells in contrasts:
        run_pairs = [[by_seed.get((cell, seed)) for cell in cells] for seed in seeds]
        pairs = [at_common_level(first, second, axis, measure) for first, second in run_pairs if first and second]
        if len(pairs) > 1:
            rows.append(contrast_row(Contrast(axis, measure, *cells)._asdict(), pairs, measure))
    return with_holm_p(rows)
