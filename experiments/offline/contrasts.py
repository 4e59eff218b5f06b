"""The seeds and the contrasts of the comparison of learners."""

from typing import Literal, NamedTuple

SEEDS = (0, 1, 2)
TUNING_SEED = 100  # the settings were chosen on this seed


class Contrast(NamedTuple):
    """The difference of a measure between two learners at equal seeds: `first` minus `second`."""

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
"""The first three were fixed before the first run of these seeds, the fourth was fixed before the runs of `actde`, and
the last two were fixed before the runs of `ppo as actde`.
"""
