"""Statistics of the exact experiments: contrasts over seeds, with p-values corrected for the number of contrasts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.compare.intervals import ABOVE_0, ABOVE_1, RATE, over_runs
from experiments.rlhf.exact_contrasts import CONTRASTS, MEASURES, SHIFTS, Contrast, shift_distance
from experiments.rlhf.exact_tasks import TASKS

ANY = (-np.inf, np.inf)
WITHIN = {
    **dict.fromkeys(("entropy", "kl", "kl_text", "kernel_growth"), ABOVE_0),
    "perplexity": ABOVE_1,
    **dict.fromkeys(("focus", "distance", "shift"), RATE),
    **dict.fromkeys(("distinct_1", "distinct_2", "self_bleu", "repeated"), RATE),
    **dict.fromkeys(("commonest_word", "commonest_opening"), RATE),
    "true_reward": (-1.0, 1.0),  # of the judge `sentiment`
}
"""Quantity -> range of its possible values. Confidence intervals are clipped to this range."""
Runs = Mapping[tuple[str, str, int], Mapping[str, Any]]
"""Tuple (task, method, seed) -> the curves of this run."""


def estimate(values: Sequence[float], name: str = "") -> dict[str, Any]:
    """Return the mean of `values` with its 95% confidence interval (Student's t) and the number of seeds.

    The interval is clipped to the range of the quantity `name`.
    """
    found = over_runs(values, WITHIN.get(name, ANY))
    assert found is not None
    return {"value": found.value, "low": found.low, "high": found.high, "seeds": len(values)}


def measured(runs: Runs, task: str, method: str, measure: str) -> dict[int, float]:
    """Return a measure of all finished runs of a cell (a task and a method): seed -> value."""
    values = {}
    for (name, other, seed), curves in runs.items():
        if (name, other) != (task, method):
            continue
        if measure != "shift":
            values[seed] = MEASURES[measure].compute(TASKS[task], curves)
        elif all((shift, method, seed) in runs for shift in SHIFTS):
            values[seed] = shift_distance(curves, [runs[shift, method, seed] for shift in SHIFTS])
    return values


def contrast_rows(runs: Runs) -> list[dict[str, Any]]:
    """Return a row for each contrast whose two methods share at least two finished seeds.

    A row contains both means and their difference with confidence intervals, the p-value (`p`), and the p-value after
    Holm's correction (`p_holm`).
    """
    rows = [row for contrast in CONTRASTS if (row := _row(runs, contrast)) is not None]
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = p
    return rows


def _row(runs: Runs, contrast: Contrast) -> dict[str, Any] | None:
    first, second = (measured(runs, contrast.task, method, contrast.measure) for method in contrast[2:])
    seeds = sorted(first.keys() & second.keys())
    if len(seeds) < 2:
        return None
    one, other = ([values[seed] for seed in seeds] for values in (first, second))
    differences = np.subtract(one, other).tolist()
    return {
        **contrast._asdict(),
        "values": [estimate(one), estimate(other)],
        "difference": estimate(differences),
        "p": paired_p(differences),
    }


def paired_p(differences: Sequence[float]) -> float:
    """Return the p-value of a two-sided paired t-test. It is 1 if all differences are equal, up to rounding errors."""
    from scipy import stats

    return 1.0 if np.ptp(differences) <= 1e-9 else float(stats.ttest_1samp(differences, 0.0).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values corrected by the procedure of Holm (1979)."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[int(index)] = largest
    return corrected
