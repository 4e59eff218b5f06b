"""The seeds and the contrasts of the comparison.

The first three contrasts were fixed before the first run of these seeds.
"""

from typing import Literal, NamedTuple

SEEDS = (0, 1, 2)
TUNING_SEED = 100  # the settings were chosen on this seed


class Contrast(NamedTuple):
    """The measure of `first` minus that of `second`, in sampled play at equal seeds.

    Attributes:
        measure: "won", the share of won episodes, or "kl", the KL to `pi_0`.
    """

    first: str
    second: str
    measure: Literal["won", "kl"] = "won"


CONTRASTS = (
    Contrast("ilql", "filtered imitation"),
    Contrast("decision", "imitation"),
    Contrast("mpo", "ppo"),
    Contrast("actde", "actde with the q of pi_0"),
    Contrast("actde", "ppo as actde"),
    Contrast("actde", "ppo as actde", "kl"),
)
"""Two contrasts of learners that use the same recorded play, and four of learners that play equally many episodes.

The fourth was added after the runs of `actde with the q of pi_0` on Text-Nav, and before those of `actde`. The last two
were added after the runs of `actde` and `ppo` on the first four tasks, and before any run of `ppo as actde`.
"""
