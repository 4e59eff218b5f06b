"""An auxiliary next-token loss on the game's text."""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from agents.model.actor_critic import ActorCritic
from agents.model.prefix_tree import Indices
from agents.training.rollout_batch import MicroBatch, RolloutBatch


def sample_positions(
    rollout: RolloutBatch, rows: Sequence[int], count: int, rng: np.random.Generator
) -> dict[int, Indices]:
    """For each segment index in `rows`, sample up to `count` token positions. Return a dict: index -> positions."""
    positions = {}
    for row in rows:
        segment = rollout.segments[row]
        # the next tokens are the agent's choices, not text of the game
        choice_positions = [choice.position for choice in segment.choices]
        candidates = np.setdiff1d(np.arange(len(segment.tokens) - 1), choice_positions)
        positions[row] = rng.choice(candidates, min(count, len(candidates)), replace=False)
    return positions


def lm_loss(model: ActorCritic, states: Tensor, micro_batch: MicroBatch, positions: Mapping[int, Indices]) -> Tensor:
    """Return the sum of -log p(next token) over `positions`, in nats. `states` come from the last layer."""
    sampled = [positions[row] for row in micro_batch.segments]
    rows, indices = np.repeat(np.arange(len(sampled)), list(map(len, sampled))), np.concatenate(sampled)
    logprobs = model.all_logprobs(states[micro_batch.locate(rows, indices)])  # [M, V]
    return -logprobs.gather(1, micro_batch.tokens[micro_batch.locate(rows, indices + 1)][:, None]).sum()
