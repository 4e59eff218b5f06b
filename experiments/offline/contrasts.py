"""The seeds and the contrasts of the comparison."""

from typing import Literal, NamedTuple

SEEDS = (0, 1, 2)
TUNING_SEED = 100  # the settings were chosen on this seed


class Contrast(NamedTuple):
    """The measure of `first` minus that of `second`, at equal seeds."""

    first: str
    second: str
    measure: Literal["won", "kl"] = "won"  # the share of won episodes, or the KL to `pi_0`


CONTRASTS = (
    Contrast("ilql", "filtered imitation"),
    Contrast("decision", "imitation"),
    Contrast("mpo", "ppo"),
    Contrast("actde", "actde with the q of pi_0"),
    Contrast("actde", "ppo as actde"),
    Contrast("actde", "ppo as actde", "kl"),
)
"""When they were fixed: the first three before the first run of these seeds, the fourth before the runs of `actde`, and
the last two before those of `ppo as actde`.
"""
