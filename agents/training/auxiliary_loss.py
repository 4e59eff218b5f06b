"""A next-token loss on what the game wrote, beside the loss at the choices: it teaches a new trunk to read.

Predicted is every token that the agent did not choose: the game's text, and the tokens of commands that were forced.
The lm_head over the whole vocabulary is applied to a few sampled positions of each segment only, in the trunk's one
pass over the stream. A position costs vocabulary x width over the trunk's weights of what the trunk's pass over it
does: a quarter for SmolLM2-135M. Leaves out the weight of the loss and the gradient step (update.py).
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
    """Positions of one gradient step whose next token is to be predicted."""

    positions: Mapping[int, NDArray[np.int64]]
    """Row of the rollout -> positions in its segment; the hidden state there predicts the token after it."""

    @classmethod
    def draw(cls, rollout: RolloutBatch, rows: Sequence[int], most: int, rng: np.random.Generator) -> Self:
        """At most `most` positions of each row, drawn without replacement."""
        found = {}
        for row in rows:
            segment = rollout.segments[row]
            chosen = [choice.position for choice in segment.choices]
            given = np.setdiff1d(np.arange(len(segment.tokens) - 1), chosen)
            found[row] = rng.choice(given, min(most, len(given)), replace=False)
        return cls(positions=found)

    def __len__(self) -> int:
        return sum(len(positions) for positions in self.positions.values())

    def loss(self, model: ActorCritic, states: Tensor, tokens: Tensor, rows: Sequence[int]) -> Tensor:
        """Sum of -log p(next token), nats, over the positions of a micro-batch.

        Args:
            states: [b, L, d] last hidden states of the rows' streams.
            tokens: [b, L] the streams.
            rows: [b] their numbers in the rollout.
        """
        place = np.repeat(np.arange(len(rows)), [len(self.positions[row]) for row in rows])
        owner = torch.from_numpy(place).to(tokens.device)
        where = torch.from_numpy(np.concatenate([self.positions[row] for row in rows])).to(tokens.device)
        logprobs = model.all_logprobs(states[owner, where])  # [M, V]
        return -logprobs.gather(1, tokens[owner, where + 1][:, None]).sum()
