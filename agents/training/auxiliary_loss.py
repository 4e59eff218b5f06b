"""An auxiliary next-token loss on the game's text, which teaches a randomly initialised trunk to read.

The targets are the tokens that the agent did not choose: the game's text and the forced tokens of commands. The hidden
states are those of the update's own forward pass. The lm_head over the whole vocabulary is expensive, so it is applied
only to a few sampled positions of each segment, which is an episode or a part of one. With vocabulary size V, hidden
size d and P weights in the trunk, the lm_head costs V d / P times as much as the trunk per position. For SmolLM2-135M,
this factor is a quarter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.model.actor_critic import ActorCritic
from agents.training.rollout_batch import RolloutBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class LMSample:
    """Sampled positions in each segment of a minibatch. The tokens that follow them are the targets of the loss.

    `positions` maps the index of a segment in the rollout to the positions in its tokens.
    """

    positions: Mapping[int, NDArray[np.int64]]

    @classmethod
    def draw(cls, rollout: RolloutBatch, rows: Sequence[int], count: int, rng: np.random.Generator) -> Self:
        """Sample up to `count` positions of each row without replacement. The positions of choices are excluded."""
        positions = {}
        for row in rows:
            segment = rollout.segments[row]
            chosen = [choice.position for choice in segment.choices]
            candidates = np.setdiff1d(np.arange(len(segment.tokens) - 1), chosen)
            positions[row] = rng.choice(candidates, min(count, len(candidates)), replace=False)
        return cls(positions=positions)

    def __len__(self) -> int:
        return sum(len(positions) for positions in self.positions.values())

    def loss(self, model: ActorCritic, states: Tensor, tokens: Tensor, rows: Sequence[int]) -> Tensor:
        """Return the sum of -log p(next token), in nats, over the sampled positions of a micro-batch.

        The micro-batch consists of `rows` [b] of the rollout, with last hidden states [b, L, d] and `tokens` [b, L].
        """
        counts = [len(self.positions[row]) for row in rows]
        batch_rows = torch.from_numpy(np.repeat(np.arange(len(rows)), counts)).to(tokens.device)
        positions = torch.from_numpy(np.concatenate([self.positions[row] for row in rows])).to(tokens.device)
        logprobs = model.all_logprobs(states[batch_rows, positions])  # [M, V]
        return -logprobs.gather(1, tokens[batch_rows, positions + 1][:, None]).sum()
