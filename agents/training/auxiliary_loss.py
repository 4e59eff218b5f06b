"""An auxiliary next-token loss on the game's text, which teaches a new trunk to read.

The targets are the tokens that the agent did not choose: the game's text and the forced tokens of commands. The lm_head
over the whole vocabulary is applied to a few sampled positions of each segment only, on the hidden states of the
update's own pass. A position costs vocabulary x width over the trunk's weights, relative to reading it: a quarter for
SmolLM2-135M.
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
    """Positions whose next token is a target of one gradient step."""

    positions: Mapping[int, NDArray[np.int64]]
    """Row of the rollout -> positions in its segment; the hidden state there predicts the next token."""

    @classmethod
    def draw(cls, rollout: RolloutBatch, rows: Sequence[int], count: int, rng: np.random.Generator) -> Self:
        """Sample up to `count` positions of each row without replacement."""
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
        """Sum of -log p(next token), nats, over the positions of a micro-batch.

        Args:
            model: whose lm_head predicts.
            states: [b, L, d] last hidden states of the rows' streams.
            tokens: [b, L] the streams.
            rows: [b] rows of the rollout.
        """
        counts = [len(self.positions[row]) for row in rows]
        batch_rows = torch.from_numpy(np.repeat(np.arange(len(rows)), counts)).to(tokens.device)
        positions = torch.from_numpy(np.concatenate([self.positions[row] for row in rows])).to(tokens.device)
        logprobs = model.all_logprobs(states[batch_rows, positions])  # [M, V]
        return -logprobs.gather(1, tokens[batch_rows, positions + 1][:, None]).sum()
