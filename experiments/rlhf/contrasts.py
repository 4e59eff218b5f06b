"""Statistics of all studies: means over seeds, and contrasts, which are paired differences between two cells.

A cell is a combination of settings. Holm's procedure corrects the p-values for the number of contrasts.
"""

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
    """Return a dict with the mean of `values`, a 95% t interval, and the number of values as "seeds".

    The interval is clipped to the range of the quantity `name` (see `WITHIN`).
    """
    found = over_runs(values, WITHIN.get(name, ANY))
    assert found is not None
    return {**asdict(found), "seeds": len(values)}


def with_bounds(names: Sequence[str], values: Array, bounds: Array) -> dict[str, dict[str, float]]:
    """Return the values [N] by name, with the lower and upper `bounds` [2, N] of their intervals."""
    rows = zip(names, values.tolist(), *bounds.tolist(), strict=True)
    return {name: {"value": value, "low": a, "high": b} for name, value, a, b in rows}


def contrasted(contrast: Mapping[str, Any], pairs: Sequence[tuple[float, float]], name: str = "") -> dict[str, Any]:
    """Return `contrast` with both means, their difference, and the p-value `p`.

    `pairs` holds a tuple (value of the first cell, value of the second cell) for each seed, for at least two seeds.
    `name` is the name of the measure, as in `estimate`.
    """
    first, second = np.transpose(pairs)
    difference = (first - second).tolist()
    return {
        **contrast,
        "values": [estimate(values.tolist(), name) for values in (first, second)],
        "difference": estimate(difference),
        "p": paired_p(difference),
    }


def corrected(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add `p_holm`, the p-value after Holm's correction, to copies of the results of `contrasted`."""
    return [{**row, "p_holm": p} for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True)]
