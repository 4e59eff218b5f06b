"""The seeds and the contrasts of the confirmation, which were fixed before its first run, and their statistics.

A cell is a combination of settings. A contrast compares two cells at the same level of the proxy reward (or of the KL):
90% of the way from the start to the highest level that both runs of a seed reach. A run is measured where it first
reaches this level. The test is a two-sided paired t-test over seeds, with Holm's correction for all contrasts.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np

from experiments.rlhf.exact_statistics import estimate, holm, paired_p

SEEDS = tuple(range(2000, 2010))
PAIRS = (("actde", "ppo"), ("actde", "ppo-kl"), ("actde", "ppo-slow"))
MEASURES = {"entropy": "entropy, nats per token", "distinct_2": "distinct-2", "true_reward": "true reward"}
AXES = {"reward": "proxy reward", "kl": "KL to the initial policy, nats per token"}
ROLLOUTS = {"iteration": "rollouts"}
"""Name and label of another axis. On it, `experiments.rlhf.ablation` compares runs after equal numbers of rollouts."""
SHARE = 0.9
"""Fraction of the common range at which runs are compared. Measures at the end of the range would be noisier."""
SIGNIFICANT = 0.05
"""A contrast is significant if its p-value after Holm's correction is below this number."""
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
    """Return the values of `measure` for the runs `one` and `other`, which must have the same seed.

    Each run is measured where it first reaches the level of `axis` that the module's docstring defines.
    """
    start = one["probes"][0][axis]
    highest = min(max(probe[axis] for probe in run["probes"]) for run in (one, other))
    level = start + SHARE * (highest - start)
    first, second = (at_level(run["probes"], axis, level, measure) for run in (one, other))
    return first, second


def contrast_rows(
    runs: Sequence[Run], contrasts: Sequence[Contrast] = CONTRASTS, seeds: Sequence[int] = SEEDS
) -> list[dict[str, Any]]:
    """Return a row for each contrast. Seeds with missing runs are ignored.

    A row contains the difference with its confidence interval, the p-value, and the p-value after Holm's correction.
    """
    by_seed = {(run["cell"], run["seed"]): run for run in runs}
    rows = list[dict[str, Any]]()
    for contrast in contrasts:
        complete = [seed for seed in seeds if all((cell, seed) in by_seed for cell in contrast[2:])]
        if len(complete) < 2:
            continue
        first, second = ([by_seed[cell, seed] for seed in complete] for cell in contrast[2:])
        pairs = [matched(a, b, contrast.axis, contrast.measure) for a, b in zip(first, second, strict=True)]
        one, other = np.transpose(pairs)
        rows.append(
            {
                **contrast._asdict(),
                "values": [estimate(values.tolist(), contrast.measure) for values in (one, other)],
                "difference": estimate((one - other).tolist()),
                "p": paired_p((one - other).tolist()),
            }
        )
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = p
    return rows
