"""An auxiliary next-token loss on the game's text, which teaches a randomly initialised trunk to read.

The targets are the tokens that the agent did not choose: the game's text, and those tokens of commands that had no
alternative. The loss reuses the hidden states of the update's forward pass. It applies the lm_head only to a few
sampled positions of each segment (an episode or a part of one), because the lm_head over the whole vocabulary is
expensive. With vocabulary size V, hidden size d and P weights in the trunk, the lm_head costs V d / P times as much per
position as the trunk. For SmolLM2-135M, this factor is a quarter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from agents.model.actor_critic import ActorCritic
from agents.training.rollout_batch import MicroBatch, RolloutBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class LMSample:
    """The sampled positions of a minibatch. At each of them, the loss predicts the token at the next position.

    `positions` maps the index of a segment in the rollout to the sampled positions in that segment's tokens.
    """

    positions: Mapping[int, NDArray[np.int64]]

    @classmethod
    def draw(cls, rollout: RolloutBatch, rows: Sequence[int], count: int, rng: np.random.Generator) -> Self:
        """Sample up to `count` positions in each of a rollout's segments with indices `rows`, without replacement.

        Positions after which the agent chose the next token are excluded.
        """
        positions = {}
        for row in rows:
            segment = rollout.segments[row]
            chosen = [choice.position for choice in segment.choices]
            candidates = np.setdiff1d(np.arange(len(segment.tokens) - 1), chosen)
            positions[row] = rng.choice(candidates, min(count, len(candidates)), replace=False)
        return cls(positions=positions)

    def __len__(self) -> int:
        return sum(len(positions) for positions in self.positions.values())

    def loss(self, model: ActorCritic, states: Tensor, part: MicroBatch) -> Tensor:
        """Return the sum of -log p(next token), in nats, over the sampled positions of a micro-batch.

        `states` are the micro-batch's last hidden states, which `MicroBatch.hidden_states` yields.
        """
        sampled = [self.positions[row] for row in part.segments]
        rows, positions = np.repeat(np.arange(len(sampled)), list(map(len, sampled))), np.concatenate(sampled)
        logprobs = model.all_logprobs(states[part.locate(rows, positions)])  # [M, V]
        return -logprobs.gather(1, part.tokens[part.locate(rows, positions + 1)][:, None]).sum()
