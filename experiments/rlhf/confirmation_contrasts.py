"""The seeds and contrasts of the confirmation. Both were fixed before its first run."""

from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from typing import Any, NamedTuple

from experiments.rlhf.contrasts import contrasted, corrected

SEEDS = tuple(range(2000, 2010))
PAIRS = (("actde", "ppo"), ("actde", "ppo-kl"), ("actde", "ppo-slow"))
MEASURES = ("entropy", "distinct_2", "true_reward")
AXES = ("reward", "kl")
SHARE = 0.9  # of the common range, where runs are compared; measures at the end of the range would be noisier
SIGNIFICANT = 0.05  # p-values after Holm's correction that are lower than this are significant
Run = Mapping[str, Any]


class Contrast(NamedTuple):
    """A difference at the same level of `axis`: the cell `first` minus the cell `second`."""

    axis: str
    measure: str
    first: str
    second: str


CONTRASTS = [
    Contrast(axis, measure, *pair) for axis, pair, measure in product(AXES, PAIRS, (*MEASURES, "kl")) if measure != axis
]


def at_level(probes: Sequence[Mapping[str, Any]], axis: str, level: float, measure: str) -> float:
    """Return `measure` where a run first reaches `level` on `axis`, interpolated linearly."""
    if probes[0][axis] >= level:
        return float(probes[0][measure])
    for before, after in pairwise(probes):
        if before[axis] < level <= after[axis]:
            share = (level - before[axis]) / (after[axis] - before[axis])
            return float(before[measure] + share * (after[measure] - before[measure]))
    raise ValueError(f"the curve reaches {max(probe[axis] for probe in probes):g}, not {level:g}")


def matched(one: Run, other: Run, axis: str, measure: str) -> tuple[float, float]:
    """Return `measure` of two runs at the same level of `axis`.

    The level is `SHARE` of the way from the initial value to the highest value that both runs reach.
    """
    start = one["probes"][0][axis]
    highest = min(max(probe[axis] for probe in run["probes"]) for run in (one, other))
    level = start + SHARE * (highest - start)
    return at_level(one["probes"], axis, level, measure), at_level(other["probes"], axis, level, measure)


def contrast_rows(
    runs: Sequence[Run], contrasts: Sequence[Contrast] = CONTRASTS, seeds: Sequence[int] = SEEDS
) -> list[dict[str, Any]]:
    """Return a row (see `corrected`) for each contrast with at least two finished seeds."""
    by_seed = {(run["cell"], run["seed"]): run for run in runs}
    rows = []
    for axis, measure, *cells in contrasts:
        both = [[by_seed.get((cell, seed)) for cell in cells] for seed in seeds]
        pairs = [matched(one, other, axis, measure) for one, other in both if one and other]
        if len(pairs) > 1:
            rows.append(contrasted(Contrast(axis, measure, *cells)._asdict(), pairs, measure))
    return corrected(rows)
