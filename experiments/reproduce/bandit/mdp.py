"""Small deterministic MDPs, and on-policy training on them."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actde.tabular import Table, Tabular, Transition
from experiments.reproduce.statistics import Array
from games.ipd import PAYOFFS

SIZES = ((3, 2), (2, 3), (4, 3))  # numbers of states and actions of random MDPs


@dataclass(frozen=True, slots=True, kw_only=True)
class MDP:
    """An MDP with S states and A actions. No state is terminal."""

    rewards: Array  # [S, A], without noise
    next_states: NDArray[np.int64]  # [S, A]
    discount: float
    noise: float = 0.0  # standard deviation of the noise of the rewards

    def step(self, state: int, action: int, rng: np.random.Generator) -> Transition:
        reward = float(self.rewards[state, action]) + (rng.normal(0, self.noise) if self.noise else 0.0)
        next_state = int(self.next_states[state, action])
        return Transition(state=state, action=action, reward=reward, next_state=next_state, discount=self.discount)


def random_mdp(rng: np.random.Generator, discount: float, noise: float = 0.0) -> MDP:
    """Return a random MDP with rewards from N(0, 1)."""
    shape = SIZES[rng.integers(len(SIZES))]
    next_states = rng.integers(shape[0], size=shape)
    return MDP(rewards=rng.normal(0, 1, shape), next_states=next_states, discount=discount, noise=noise)


def dilemma() -> MDP:
    """Return the prisoner's dilemma as an MDP whose state is the agent's last action."""
    # rows are past actions, and columns are present actions
    return MDP(rewards=np.array(PAYOFFS["post"]).T, next_states=np.tile(np.arange(2), (2, 1)), discount=0.5)


def initial_logits(mdp: MDP, rng: np.random.Generator | None = None) -> Table:
    """Return initial logits from N(0, 1), or zeros if `rng` is None."""
    logits = np.zeros(mdp.rewards.shape) if rng is None else rng.normal(0, 1, mdp.rewards.shape)
    return {state: dict(enumerate(row)) for state, row in enumerate(logits.tolist())}


def learn_on_policy(learner: Tabular, mdp: MDP, rng: np.random.Generator) -> Iterator[float]:
    """Train a learner on-policy. Yield the TD error of each step."""
    state, action_rng = 0, random.Random(int(rng.integers(2**32)))
    while True:
        action: Any = learner.sample(state, action_rng)
        yield learner.learn(mdp.step(state, action, rng))
        state = int(mdp.next_states[state, action])


def advance(errors: Iterator[float], steps: int) -> Array:
    """Train for `steps` steps by iterating over `errors`. Return the TD errors."""
    return np.fromiter(islice(errors, steps), dtype=np.float64, count=steps)
