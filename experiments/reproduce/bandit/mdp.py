"""Define small deterministic MDPs, train learners on them, and compute the exact v and q of a policy.

The MDPs have no terminal states. The learners learn on policy.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actde.tabular import Tabular, TabularACTDE, Transition
from experiments.reproduce.statistics import Array
from games.ipd import PAYOFFS

SIZES = ((3, 2), (2, 3), (4, 3))  # numbers of states and actions of random MDPs
Logits = dict[Any, dict[Any, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MDP:
    """An MDP of S states and A actions, with deterministic transitions and no terminal states.

    Attributes:
        rewards: the mean rewards. The shape is [S, A].
        next_states: the next state, as an index. The shape is [S, A].
        noise: standard deviation of the Gaussian noise that is added to each reward.
    """

    rewards: Array
    next_states: NDArray[np.int64]
    discount: float
    noise: float = 0.0

    def step(self, state: int, action: int, rng: np.random.Generator) -> Transition:
        reward = float(self.rewards[state, action]) + (rng.normal(0, self.noise) if self.noise else 0.0)
        after = int(self.next_states[state, action])
        return Transition(state=state, action=action, reward=reward, next_state=after, discount=self.discount)


class ExpectedACTDE(TabularACTDE):
    """ACTDE that sets v(s) to the policy's mean of q(s, .) after each step, instead of learning v from samples."""

    def learn(self, step: Transition) -> float:
        error = super().learn(step)
        policy = self.policy(step.state)
        self.values[step.state] = sum(policy[action] * q for action, q in self.q_values[step.state].items())
        return error


def random_mdp(rng: np.random.Generator, discount: float, noise: float = 0.0) -> MDP:
    """Return a random MDP with rewards from N(0, 1) and uniformly drawn next states."""
    shape = SIZES[rng.integers(len(SIZES))]
    next_states = rng.integers(shape[0], size=shape)
    return MDP(rewards=rng.normal(0, 1, shape), next_states=next_states, discount=discount, noise=noise)


def dilemma() -> MDP:
    """Return the prisoner's dilemma against the agent's own last action, which is the state."""
    rewards = np.array(PAYOFFS["post"]).T  # [past action, present action]
    return MDP(rewards=rewards, next_states=np.tile(np.arange(2), (2, 1)), discount=0.5)


def initial_logits(mdp: MDP, rng: np.random.Generator | None = None) -> Logits:
    """Return logits from N(0, 1) for all states and actions, or zeros if `rng` is None."""
    logits = np.zeros(mdp.rewards.shape) if rng is None else rng.normal(0, 1, mdp.rewards.shape)
    return {state: dict(enumerate(row)) for state, row in enumerate(logits.tolist())}


def learn_on_policy(learner: Tabular, mdp: MDP, rng: np.random.Generator) -> Iterator[float]:
    """Train the learner endlessly on actions that it samples itself, and yield the TD error of each step.

    The first state is 0.
    """
    state, draws = 0, random.Random(int(rng.integers(2**32)))
    while True:
        action: Any = learner.sample(state, draws)
        yield learner.learn(mdp.step(state, action, rng))
        state = int(mdp.next_states[state, action])


def advance(errors: Iterator[float], steps: int) -> Array:
    """Train for `steps` steps, and return the TD errors. The shape is [steps].

    `errors` is the iterator that `learn_on_policy` returned, which trains its learner by one step for each error.
    """
    return np.fromiter(islice(errors, steps), dtype=np.float64, count=steps)


def make_consistent(learner: Tabular, mdp: MDP) -> Tabular:
    """Set the learner's v and q to the exact values of its current policy, and return the learner.

    v solves v = r_pi + discount P_pi v. Here r_pi are the policy's mean rewards, and P_pi is the policy's transition
    matrix. q is then given by q(s, a) = r(s, a) + discount v(next state).
    """
    policy = np.array([list(learner.policy(state).values()) for state in learner.logits])
    one = np.eye(len(policy))
    into = (policy[..., None] * one[mdp.next_states]).sum(axis=1)
    values = np.linalg.solve(one - mdp.discount * into, (policy * mdp.rewards).sum(axis=1))
    q_values = mdp.rewards + mdp.discount * values[mdp.next_states]
    learner.values.update(enumerate(values.tolist()))
    learner.q_values.update((state, dict(enumerate(row))) for state, row in enumerate(q_values.tolist()))
    return learner
