"""Small deterministic MDPs without an end, learners that act in them, and tables consistent with a policy."""

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

SIZES = ((3, 2), (2, 3), (4, 3))
"""States and actions of random MDPs."""
Logits = dict[Any, dict[Any, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MDP:
    """A deterministic MDP without an end."""

    rewards: Array
    """[S, A]"""
    next_states: NDArray[np.int64]
    """[S, A]"""
    discount: float
    noise: float = 0.0
    """Standard deviation of the noise that is added to a reward."""

    def step(self, state: int, action: int, rng: np.random.Generator) -> Transition:
        reward = float(self.rewards[state, action]) + (rng.normal(0, self.noise) if self.noise else 0.0)
        after = int(self.next_states[state, action])
        return Transition(state=state, action=action, reward=reward, next_state=after, discount=self.discount)


class ExpectedACTDE(TabularACTDE):
    """ACTDE whose v(s) is the policy's mean of q(s, .) instead of learned from samples."""

    def learn(self, step: Transition) -> float:
        error = super().learn(step)
        policy = self.policy(step.state)
        self.values[step.state] = sum(policy[action] * q for action, q in self.q_values[step.state].items())
        return error


def random_mdp(rng: np.random.Generator, discount: float, noise: float = 0.0) -> MDP:
    """One of SIZES, with rewards from N(0, 1) and uniformly random next states."""
    shape = SIZES[rng.integers(len(SIZES))]
    next_states = rng.integers(shape[0], size=shape)
    return MDP(rewards=rng.normal(0, 1, shape), next_states=next_states, discount=discount, noise=noise)


def dilemma() -> MDP:
    """The prisoner's dilemma against one's own last action, which is the state."""
    rewards = np.array(PAYOFFS["post"]).T  # [before, now]
    return MDP(rewards=rewards, next_states=np.tile(np.arange(2), (2, 1)), discount=0.5)


def initial_logits(mdp: MDP, rng: np.random.Generator | None = None) -> Logits:
    """Logits of the uniform policy, or from N(0, 1) if `rng` is given."""
    states, actions = mdp.rewards.shape
    logits = np.zeros((states, actions)) if rng is None else rng.normal(0, 1, (states, actions))
    return {s: {a: float(logits[s, a]) for a in range(actions)} for s in range(states)}


def learn_on_policy(learner: Tabular, mdp: MDP, rng: np.random.Generator) -> Iterator[float]:
    """Yield the errors of a learner that acts and learns from state 0 on, without end."""
    state, draws = 0, random.Random(int(rng.integers(2**32)))
    while True:
        action: Any = learner.sample(state, draws)
        yield learner.learn(mdp.step(state, action, rng))
        state = int(mdp.next_states[state, action])


def advance(errors: Iterator[float], steps: int) -> Array:
    """[steps], the errors of the next steps."""
    return np.fromiter(islice(errors, steps), dtype=np.float64, count=steps)


def make_consistent(learner: Tabular, mdp: MDP) -> None:
    """Set v and q to those of the learner's policy: v = r_pi + discount P_pi v, q = r + discount v(next)."""
    states, actions = mdp.rewards.shape
    policy = np.array([[learner.policy(s)[a] for a in range(actions)] for s in range(states)])
    into = np.zeros((states, states))
    for state in range(states):
        np.add.at(into[state], mdp.next_states[state], policy[state])
    values = np.linalg.solve(np.eye(states) - mdp.discount * into, (policy * mdp.rewards).sum(axis=1))
    q_values = mdp.rewards + mdp.discount * values[mdp.next_states]
    learner.values.update(enumerate(values.tolist()))
    learner.q_values.update((state, dict(enumerate(row))) for state, row in enumerate(q_values.tolist()))
