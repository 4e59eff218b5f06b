"""The seeds and the contrasts of the comparison. All but one were fixed before the first run of these seeds."""

from typing import NamedTuple

SEEDS = (0, 1, 2)
TUNING_SEED = 100
"""The settings were chosen on this seed."""


class Contrast(NamedTuple):
    """The share of episodes that `first` wins minus the share that `second` wins, in sampled play at equal seeds."""

    first: str
    second: str


CONTRASTS = (
    Contrast("ilql", "filtered imitation"),
    Contrast("decision", "imitation"),
    Contrast("mpo", "ppo"),
    Contrast("actde", "actde with the q of pi_0"),
)
"""Two contrasts of learners with equal data, and two of learners with equal numbers of own episodes.

The last contrast was added after the runs of `actde with the q of pi_0` on Text-Nav, and before those of `actde`.
"""
