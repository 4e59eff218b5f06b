"""The seeds and the contrasts of the confirmation. Both were fixed before its first run.

A contrast compares two cells, seed by seed, at the same level of the proxy reward or of the KL. The level is 90% of the
way from the initial value to the highest value that both runs reach. Each run is measured where it first reaches the
level.
"""

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
    """The difference of a measure, at the same level of `axis`: the cell `first` minus the cell `second`."""

    axis: str
    measure: str
    first: str
    second: str


CONTRASTS = [
    Contrast(axis, measure, *pair) for axis, pair, measure in product(AXES, PAIRS, (*MEASURES, "kl")) if measure != axis
]


def at_level(probes: Sequence[Mapping[str, Any]], axis: str, level: float, measure: str) -> float:
    """Return `measure` where a run first reaches `level` on `axis`, interpolated linearly between its probes.

    Raises:
        ValueError: the curve does not reach the level.
    """
    if probes[0][axis] >= level:
        return float(probes[0][measure])
    for before, after in pairwise(probes):
        if before[axis] < level <= after[axis]:
            share = (level - before[axis]) / (after[axis] - before[axis])
            return float(before[measure] + share * (after[measure] - before[measure]))
    raise ValueError(f"the curve reaches {max(probe[axis] for probe in probes):g}, not {level:g}")


def matched(one: Run, other: Run, axis: str, measure: str) -> tuple[float, float]:
    """Return `measure` of two runs with the same seed, at the same level of `axis` (see the module's docstring)."""
    start = one["probes"][0][axis]
    highest = min(max(probe[axis] for probe in run["probes"]) for run in (one, other))
    level = start + SHARE * (highest - start)
    return at_level(one["probes"], axis, level, measure), at_level(other["probes"], axis, level, measure)


def contrast_rows(
    runs: Sequence[Run], contrasts: Sequence[Contrast] = CONTRASTS, seeds: Sequence[int] = SEEDS
) -> list[dict[str, Any]]:
    """Return a row (see `contrasts.corrected`) for each contrast whose two cells share at least two finished seeds."""
    by_seed = {(run["cell"], run["seed"]): run for run in runs}
    rows = []
    for axis, measure, *cells in contrasts:
        both = [[by_seed.get((cell, seed)) for cell in cells] for seed in seeds]
        pairs = [matched(one, other, axis, measure) for one, other in both if one and other]
        if len(pairs) > 1:
            rows.append(contrasted(Contrast(axis, measure, *cells)._asdict(), pairs, measure))
    return corrected(rows)
