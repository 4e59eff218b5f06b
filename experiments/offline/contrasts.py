"""Seeds and contrasts of the comparison of learners."""

from typing import Literal, NamedTuple

SEEDS = (0, 1, 2)
TUNING_SEED = 100  # the settings were chosen on this seed


class Contrast(NamedTuple):
    """Two learners that are compared on equal seeds."""

    first: str
    second: str  # the measure of `second` is subtracted from the measure of `first`
    measure: Literal["won", "kl"] = "won"  # the share of won episodes, or the KL to `pi_0`


CONTRASTS = (
    Contrast("ilql", "filtered imitation"),
    Contrast("decision", "imitation"),
    Contrast("mpo", "ppo"),
    Contrast("actde", "actde with the q of pi_0"),
    Contrast("actde", "ppo as actde"),
    Contrast("actde", "ppo as actde", "kl"),
)
"""The first three contrasts were fixed before any run with `SEEDS`, the fourth before the runs of `actde`, and the last
two before the runs of `ppo as actde`.
"""
