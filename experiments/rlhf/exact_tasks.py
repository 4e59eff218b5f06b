"""The bandits of `exact.py`. Each arm is a word that continues `PROMPT`."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from experiments.rlhf.contrasts import Array

PROMPT = "We had a"
TAU = 0.5  # ACTDE's temperature (the step size of q divided by that of the logits), and the weight of the KL penalty


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A bandit."""

    rewards: dict[str, float]  # mean reward of each arm
    lottery: tuple[str, ...] = ()  # arms that pay `ODDS` times their mean reward with probability 1 / `ODDS`, else 0
    groups: dict[str, tuple[str, ...]]  # name -> arms whose probabilities are added up

    @property
    def arms(self) -> tuple[str, ...]:
        return tuple(self.rewards)

    @property
    def means(self) -> Array:
        """The mean rewards [K] of the K arms."""
        return np.array(list(self.rewards.values()))

    def arm_indices(self, group: str) -> list[int]:
        return [self.arms.index(arm) for arm in self.groups[group]]

    def pay(self, chosen: NDArray[np.int64], rng: np.random.Generator) -> Array:
        """Sample the rewards [N] of the arms with the indices `chosen` [N]."""
        wins = rng.random(len(chosen)) < 1 / ODDS
        risky = np.isin(chosen, [self.arms.index(arm) for arm in self.lottery])
        return np.asarray(self.means[chosen] * np.where(risky, ODDS * wins, 1.0))

    def shifted(self, constant: float) -> "Task":
        return replace(self, rewards={arm: reward + constant for arm, reward in self.rewards.items()})


ODDS = 4


def _unpaid(arms: str) -> dict[str, float]:
    return dict.fromkeys(arms.split(), 0.0)


# in brackets: probabilities of SmolLM2 before training, over the arms of the task
MANY = ("concert", "race", "ceremony", "tractor", "barbecue", "sheep")
# one word paid (0.22)
WEDDINGS = Task(
    rewards={"wedding": 1.0, **_unpaid("party meeting story game dinner cat")}, groups={"focus": ("wedding",)}
)
TASKS = {
    # two answers paid alike, 99 : 1 before training (0.146 and 0.0015)
    "alike": Task(
        rewards={"conversation": 1.0, "celebration": 1.0, **_unpaid("team dream choice friend family plan")},
        groups={"focus": ("celebration",), "common": ("conversation",)},
    ),
    "weddings": WEDDINGS,
    # equal base rates (0.12 to 0.13) and means: one word that always pays, one that pays at random, and six words
    "barn": Task(
        rewards={"barn": 1.0, "date": 1.0, **dict.fromkeys(MANY, 1.0), **_unpaid("talk holiday fire test")},
        lottery=("date",),
        groups={"focus": ("barn",), "lottery": ("date",), "many": MANY},
    ),
    # the best arm is rare (0.005), a good one is common (0.16)
    "rare": Task(
        rewards={"barbecue": 2.0, "party": 1.0, **_unpaid("meeting story dinner trip")},
        groups={"focus": ("barbecue",), "common": ("party",)},
    ),
    "weddings-1": WEDDINGS.shifted(-1.0),
    "weddings+1": WEDDINGS.shifted(1.0),
}


def predicted_policy(initial: Array, means: Array, tau: float = TAU) -> Array:
    """Return the limit of tabular ACTDE: `initial` * exp(`means` / `tau`), normalised to sum 1."""
    weights = initial * np.exp((means - means.max()) / tau)
    return np.asarray(weights / weights.sum())
