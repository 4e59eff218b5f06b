"""The bandits of the exact experiments: sets of one-token continuations of one prompt, with their rewards.

Every expectation is a sum over the arms. The probabilities in the comments are those of SmolLM2 before training, over
the arms of the task.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
PROMPT = "We had a"
TAU = 0.5
"""Temperature of ACTDE: the step size of q divided by that of the logits. Also the weight of the KL penalty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A bandit: its arms, their mean rewards, and the names of the arms that the measures compare."""

    rewards: dict[str, float]
    """Mean reward of each arm."""
    lottery: tuple[str, ...] = ()
    """Arms that pay their mean times `ODDS` with probability 1 / `ODDS`, and otherwise nothing."""
    groups: dict[str, tuple[str, ...]]
    """Name of a group -> its arms. `focus` contains the arms of interest, which the main measure of a task uses."""

    @property
    def arms(self) -> tuple[str, ...]:
        return tuple(self.rewards)

    @property
    def means(self) -> Array:
        """Mean reward of each arm, which is Q^pi for every policy pi. The shape is [K]."""
        return np.array(list(self.rewards.values()))

    def index(self, group: str) -> list[int]:
        """Return the indices of the arms of a group."""
        return [self.arms.index(arm) for arm in self.groups[group]]

    def pay(self, chosen: NDArray[np.int64], rng: np.random.Generator) -> Array:
        """Return one reward for each of the chosen arms [N]."""
        wins = rng.random(len(chosen)) < 1 / ODDS
        risky = np.isin(chosen, [self.arms.index(arm) for arm in self.lottery])
        return np.asarray(self.means[chosen] * np.where(risky, ODDS * wins, 1.0))

    def shifted(self, constant: float) -> "Task":
        """Return the task with a constant added to all rewards."""
        rewards = {arm: reward + constant for arm, reward in self.rewards.items()}
        return Task(rewards=rewards, lottery=self.lottery, groups=self.groups)


ODDS = 4


def _unpaid(arms: str) -> dict[str, float]:
    return dict.fromkeys(arms.split(), 0.0)


MANY = ("concert", "race", "ceremony", "tractor", "barbecue", "sheep")
# two answers paid alike, 99 : 1 before training (0.146 and 0.0015)
ALIKE = Task(
    rewards={"conversation": 1.0, "celebration": 1.0, **_unpaid("team dream choice friend family plan")},
    groups={"focus": ("celebration",), "common": ("conversation",)},
)
# one word paid (0.22)
WEDDINGS = Task(
    rewards={"wedding": 1.0, **_unpaid("party meeting story game dinner cat")}, groups={"focus": ("wedding",)}
)
# equal base rates (0.12 to 0.13) and means: one word that always pays, one that pays at random, and six words
BARN = Task(
    rewards={"barn": 1.0, "date": 1.0, **dict.fromkeys(MANY, 1.0), **_unpaid("talk holiday fire test")},
    lottery=("date",),
    groups={"focus": ("barn",), "lottery": ("date",), "many": MANY},
)
# the best arm is rare (0.005), a good one is common (0.16)
RARE = Task(
    rewards={"barbecue": 2.0, "party": 1.0, **_unpaid("meeting story dinner trip")},
    groups={"focus": ("barbecue",), "common": ("party",)},
)
TASKS = {
    "alike": ALIKE,
    "weddings": WEDDINGS,
    "barn": BARN,
    "rare": RARE,
    "weddings-1": WEDDINGS.shifted(-1.0),
    "weddings+1": WEDDINGS.shifted(1.0),
}


def predicted(start: Array, means: Array, tau: float = TAU) -> Array:
    """Return pi_0 exp(Q / tau), normalised: the limit of tabular ACTDE and of a policy gradient with KL penalty."""
    weights = start * np.exp((means - means.max()) / tau)
    return np.asarray(weights / weights.sum())
