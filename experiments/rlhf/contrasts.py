"""Means over seeds, and differences between two settings, paired by seed."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.compare.intervals import ABOVE_0, ABOVE_1, ANY, RATE, holm, mean_over_runs, paired_p

Array = NDArray[np.float64]
INTERVAL_QUANTILES = (0.025, 0.975)  # quantiles at the ends of a 95% bootstrap interval
RANGES = {  # range of the possible values of each quantity
    **dict.fromkeys(("entropy", "kl", "kl_text", "kernel_growth"), ABOVE_0),
    "perplexity": ABOVE_1,
    **dict.fromkeys(("focus", "distance", "shift"), RATE),
    **dict.fromkeys(("distinct_1", "distinct_2", "self_bleu", "repeated"), RATE),
    **dict.fromkeys(("commonest_word", "commonest_opening"), RATE),
    "true_reward": (-1.0, 1.0),  # of the judge `sentiment`
    "explained": (-np.inf, 1.0),  # an explained variance
}


def estimate(values: Sequence[float], name: str = "") -> dict[str, Any]:
    """Return the mean of `values` (one per seed), and a 95% t interval within `RANGES[name]`."""
    mean = mean_over_runs(values, RANGES.get(name, ANY))
    assert mean is not None
    return {**asdict(mean), "seeds": len(values)}


def with_bounds(names: Sequence[str], values: Array, bounds: Array) -> dict[str, dict[str, float]]:
    """Return a dict: name -> dict with keys "value", "low", "high". For N names, `bounds` is [2, N]."""
    rows = zip(names, values.tolist(), *bounds.tolist(), strict=True)
    return {name: {"value": value, "low": low, "high": high} for name, value, low, high in rows}


def contrast_row(contrast: Mapping[str, Any], pairs: Sequence[tuple[float, float]], name: str = "") -> dict[str, Any]:
    """Copy `contrast`, and add two means, the mean difference and the p-value. `pairs` holds one pair per seed."""
    first, second = np.transpose(pairs)
    difference = (first - second).tolist()
    return {
        **contrast,
        "values": [estimate(values.tolist(), name) for values in (first, second)],
        "difference": estimate(difference),
        "p": paired_p(difference),
    }


def with_holm_p(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Copy the rows, and add `p_holm`, the p-value after Holm's correction."""
    return [{**row, "p_holm": p} for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True)]
