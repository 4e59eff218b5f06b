"""Small decision problems, and their exact Q^pi."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from games.ipd import PAYOFFS

COPIES = 6  # problems in an `MDP`; they differ in pi_0, and random MDPs also in rewards and transitions


@dataclass(frozen=True, slots=True, kw_only=True)
class MDP:
    """R problems with S states and A actions each. Tensors are float64.

    Attributes:
        rewards: [R, S, A] mean reward.
        noise: standard deviation of the rewards.
        transitions: [R, S, A, S] probability of each next state. If the probabilities sum to less than 1, the episode
            can end.
        initial_policy: [R, S, A] pi_0.
        scale: typical difference between the Q-values of a state.
    """

    rewards: Tensor
    noise: float
    transitions: Tensor
    discount: float
    turns: int
    initial_policy: Tensor
    scale: float = 1.0

    def q(self, policy: Tensor) -> Tensor:
        """Return the exact Q^pi [R, S, A] of a policy [R, S, A], from Bellman's equation."""
        chain = torch.einsum("rsat,rsa->rst", self.transitions, policy)
        values = torch.linalg.solve(
            torch.eye(chain.shape[1], dtype=torch.float64) - self.discount * chain, (policy * self.rewards).sum(-1)
        )
        return self.rewards + self.discount * torch.einsum("rsat,rt->rsa", self.transitions, values)


def _random_policies(rng: torch.Generator, states: int, actions: int) -> Tensor:
    """Return random policies [R, S, A] for R problems, S states and A actions.

    All probabilities are at least 1 / (2 A).
    """
    weights = torch.rand(COPIES, states, actions, generator=rng, dtype=torch.float64)
    return 0.5 / actions + 0.5 * weights / weights.sum(-1, keepdim=True)


def bandit(means: list[float], rng: torch.Generator) -> MDP:
    rewards = torch.tensor(means, dtype=torch.float64).expand(COPIES, 1, -1)
    scale = max(means) - min(means)
    return MDP(
        rewards=rewards,
        noise=0.2 * scale,
        transitions=torch.zeros(*rewards.shape, 1, dtype=torch.float64),
        discount=1.0,
        turns=1,
        initial_policy=_random_policies(rng, 1, len(means)),
        scale=scale,
    )


def acyclic(rng: torch.Generator) -> MDP:
    """Return random acyclic MDPs. Each has three actions, and layers of one, two and two states."""
    layers = ((0,), (1, 2), (3, 4))
    rewards = torch.rand(COPIES, 5, 3, generator=rng, dtype=torch.float64)
    transitions = torch.zeros(COPIES, 5, 3, 5, dtype=torch.float64)
    for layer, next_layer in pairwise(layers):
        weights = torch.rand(COPIES, len(layer), 3, len(next_layer), generator=rng, dtype=torch.float64)
        probabilities = weights / weights.sum(-1, keepdim=True)
        transitions[:, layer[0] : layer[-1] + 1, :, next_layer[0] : next_layer[-1] + 1] = probabilities
    return MDP(
        rewards=rewards,
        noise=0.2,
        transitions=transitions,
        discount=1.0,
        turns=3,
        initial_policy=_random_policies(rng, 5, 3),
    )


def dilemma(rng: torch.Generator) -> MDP:
    """Return an iterated prisoner's dilemma. The state is the player's own last action."""
    rewards = torch.tensor(PAYOFFS["post"], dtype=torch.float64).T.expand(COPIES, -1, -1)  # [before][now]
    transitions = torch.eye(2, dtype=torch.float64).expand(COPIES, 2, 2, 2)  # the next state is the action
    return MDP(
        rewards=rewards,
        noise=0.2,
        transitions=transitions,
        discount=0.5,
        turns=4,
        initial_policy=_random_policies(rng, 2, 2),
    )


PROBLEMS: dict[str, Callable[[torch.Generator], MDP]] = {
    "bandit": lambda rng: bandit([1.0, 0.5], rng),
    "five arms": lambda rng: bandit([0.0, 0.25, 0.5, 0.75, 1.0], rng),
    "acyclic MDPs": acyclic,
    "dilemma": dilemma,
}
