"""Means over seeds, and contrasts: paired differences between two cells (combinations of settings)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.compare.intervals import ABOVE_0, ABOVE_1, ANY, RATE, holm, over_runs, paired_p

Array = NDArray[np.float64]
ENDS = (0.025, 0.975)  # quantiles at the ends of a 95% bootstrap interval
WITHIN = {  # range of the possible values of each quantity
    **dict.fromkeys(("entropy", "kl", "kl_text", "kernel_growth"), ABOVE_0),
    "perplexity": ABOVE_1,
    **dict.fromkeys(("focus", "distance", "shift"), RATE),
    **dict.fromkeys(("distinct_1", "distinct_2", "self_bleu", "repeated"), RATE),
    **dict.fromkeys(("commonest_word", "commonest_opening"), RATE),
    "true_reward": (-1.0, 1.0),  # of the judge `sentiment`
    "explained": (-np.inf, 1.0),  # an explained variance
}


def estimate(values: Sequence[float], name: str = "") -> dict[str, Any]:
    """Return the mean, a 95% t interval within `WITHIN[name]`, and the number of seeds."""
    found = over_runs(values, WITHIN.get(name, ANY))
    assert found is not None
    return {**asdict(found), "seeds": len(values)}


def with_bounds(names: Sequence[str], values: Array, bounds: Array) -> dict[str, dict[str, float]]:
    """Return the values [N] by name, with the `bounds` [2, N] of their intervals."""
    rows = zip(names, values.tolist(), *bounds.tolist(), strict=True)
    return {name: {"value": value, "low": a, "high": b} for name, value, a, b in rows}


def contrasted(contrast: Mapping[str, Any], pairs: Sequence[tuple[float, float]], name: str = "") -> dict[str, Any]:
    """Return `contrast` with both means, their difference and its p-value. Each pair is from one seed."""
    first, second = np.transpose(pairs)
    difference = (first - second).tolist()
    return {
        **contrast,
        "values": [estimate(values.tolist(), name) for values in (first, second)],
        "difference": estimate(difference),
        "p": paired_p(difference),
    }


def corrected(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add `p_holm`, the p-value after Holm's correction, to copies of the rows."""
    return [{**row, "p_holm": p} for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True)]
