"""The seeds and the contrasts of the comparison, which were fixed before the first run of these seeds."""

from typing import NamedTuple

SEEDS = (0, 1, 2)
TUNING_SEED = 100
"""The settings were chosen on this seed."""


class Contrast(NamedTuple):
    """The difference first - second of the share of won episodes, sampled, at equal seeds."""

    first: str
    second: str


CONTRASTS = (Contrast("ilql", "filtered imitation"), Contrast("decision", "imitation"), Contrast("mpo", "ppo"))
"""At equal data, at equal data, and at an equal number of own episodes."""
