"""An auxiliary next-token loss on the game's text, which teaches a randomly initialised trunk to read.

The targets are the tokens that the agent did not choose: the game's text, and those tokens of commands that had no
alternative. The loss reuses the hidden states of the update's forward pass. The lm_head is expensive, because it covers
the whole vocabulary. It is therefore applied only to a few sampled positions of each segment.

Let V be the number of tokens in the vocabulary, d the hidden size and P the number of weights in the trunk. Per
position, the lm_head costs V d / P times as much as the trunk. For SmolLM2-135M, this factor is a quarter.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from agents.model.actor_critic import ActorCritic
from agents.model.prefix_tree import Indices
from agents.training.rollout_batch import MicroBatch, RolloutBatch


def sample_positions(
    rollout: RolloutBatch, rows: Sequence[int], count: int, rng: np.random.Generator
) -> dict[int, Indices]:
    """Sample up to `count` positions, without replacement, in each segment whose index is in `rows`.

    Return a dict from segment index to positions. The loss predicts the token after each position. A position is
    excluded if the agent chose the token after it.
    """
    positions = {}
    for row in rows:
        segment = rollout.segments[row]
        chosen = [choice.position for choice in segment.choices]
        candidates = np.setdiff1d(np.arange(len(segment.tokens) - 1), chosen)
        positions[row] = rng.choice(candidates, min(count, len(candidates)), replace=False)
    return positions


def lm_loss(model: ActorCritic, states: Tensor, part: MicroBatch, positions: Mapping[int, Indices]) -> Tensor:
    """Return the sum of -log p(next token), in nats, over the sampled positions of a micro-batch.

    `states` are the micro-batch's last hidden states, which `MicroBatch.hidden_states` yields.
    """
    sampled = [positions[row] for row in part.segments]
    rows, before = np.repeat(np.arange(len(sampled)), list(map(len, sampled))), np.concatenate(sampled)
    logprobs = model.all_logprobs(states[part.locate(rows, before)])  # [M, V]
    return -logprobs.gather(1, part.tokens[part.locate(rows, before + 1)][:, None]).sum()
