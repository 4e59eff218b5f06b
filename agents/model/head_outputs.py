"""Token choices, and the outputs of the heads at these choices."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadOutputs:
    """Outputs of the policy, value and Q heads at N choices with up to K alternative tokens.

    Attributes:
        logprobs: [N, K] log pi(token | s) of each alternative, nats. Padding is -inf.
        entropy: [N] entropy of the policy, nats.
        values: [N] v(s), units of reward.
        q_values: [N, K, H] q(s, token) from each of H Q heads, units of reward.
        target_q_values: [N, K, H] q(s, token) from each of H target heads, units of reward.
        kl: [N] KL(pi || reference policy), nats.
        expected_q: [N] sum of pi(a | s) q(s, a) over tokens a, without gradient to q.
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
        """The lowest q over all heads, [N, K]. The target heads are used if there are any."""
        q = self.q_values if self.target_q_values is None else self.target_q_values
        return None if q is None else q.amin(-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """N positions in a batch of token streams, at which the policy chose the next token.

    Attributes:
        rows: [N] index of the stream.
        positions: [N] position of the token before the choice.
        alternatives: [N, K] ids of up to K possible tokens, padded with -1.
        chosen: [N] index of the chosen token among the alternatives.
        whole_vocabulary: whether all tokens were possible. If True, `alternatives` holds only the chosen token.
    """

    rows: Tensor
    positions: Tensor
    alternatives: Tensor
    chosen: Tensor
    whole_vocabulary: bool = False


def entropy(logprobs: Tensor) -> Tensor:
    """Return the entropy of each row of `logprobs` [N, K], in nats."""
    return -(logprobs.exp() * logprobs.masked_fill(logprobs == -torch.inf, 0.0)).sum(-1)


def pad_alternatives(alternatives: Sequence[Sequence[int]]) -> Tensor:
    """Convert N lists of token ids to a tensor [N, K], padded with -1."""
    padded = np.full((len(alternatives), max(map(len, alternatives))), -1, dtype=np.int64)
    for row, tokens in zip(padded, alternatives, strict=True):
        row[: len(tokens)] = tokens
    return torch.from_numpy(padded)
