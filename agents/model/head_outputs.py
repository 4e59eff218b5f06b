"""Choices, and the outputs of the heads at choices."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadOutputs:
    """Outputs of the heads at N choices with up to K alternatives.

    Attributes:
        logprobs: [N, K] log pi(token | s) of each alternative, nats. Padding is -inf.
        entropy: [N] entropy of the policy, nats.
        values: [N] v(s), units of reward.
        q_values, target_q_values: [N, K, H] q(s, token) of H Q heads and of their target heads, units of reward.
        kl: [N] KL(pi || pi_ref), nats.
        expected_q: [N] sum_a pi(a | s) q(s, a). No gradient flows to q.
        q_logprobs: [N, H] log softmax(q) of the chosen token, nats.
    """

    logprobs: Tensor
    entropy: Tensor
    values: Tensor
    q_values: Tensor | None
    target_q_values: Tensor | None
    kl: Tensor | None = None
    expected_q: Tensor | None = None
    q_logprobs: Tensor | None = None

    @property
    def recorded_q(self) -> Tensor | None:
        """The minimum q [N, K] of the target heads or, if there are none, of the Q heads."""
        q = self.q_values if self.target_q_values is None else self.target_q_values
        return None if q is None else q.amin(-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """N choices in a batch of streams.

    Attributes:
        rows: [N] index of the stream.
        positions: [N] position of the token before the choice.
        alternatives: [N, K] ids of the possible tokens, padded with -1.
        chosen: [N] index of the chosen token among the alternatives.
        whole_vocabulary: if True, the policy chose among all tokens, and `alternatives` has only the chosen token.
    """

    rows: Tensor
    positions: Tensor
    alternatives: Tensor
    chosen: Tensor
    whole_vocabulary: bool = False


def entropy(logprobs: Tensor) -> Tensor:
    """Return the entropies [N], in nats, of log-probabilities [N, K]."""
    return -(logprobs.exp() * logprobs.masked_fill(logprobs == -torch.inf, 0.0)).sum(-1)


def pad_alternatives(alternatives: Sequence[Sequence[int]]) -> Tensor:
    """Return the alternatives as a tensor [N, K], padded with -1."""
    padded = np.full((len(alternatives), max(map(len, alternatives))), -1, dtype=np.int64)
    for row, tokens in zip(padded, alternatives, strict=True):
        row[: len(tokens)] = tokens
    return torch.from_numpy(padded)
