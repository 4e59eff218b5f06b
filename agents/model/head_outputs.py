"""The outputs of all heads at choices, and the choices at which they are computed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadOutputs:
    """Outputs of all heads at N choices with up to K alternatives each. Choices with fewer alternatives are padded.

    Attributes:
        logprobs: [N, K] log pi(token | stream) in nats, normalized over the alternatives or over the whole vocabulary.
            Padding is -inf.
        entropy: [N] entropy of the policy, nats.
        values: [N] v(s), units of reward.
        q_values: [N, K, H] q(s, token) of each of the H Q heads, units of reward. None without Q heads.
        target_q_values: [N, K, H] q(s, token) of each target head, units of reward. None without target heads.
        kl: [N] exact KL(pi || pi_ref), nats. None without a reference policy.
        expected_q: [N] sum_a pi(a | s) q(s, a), units of reward. No gradient flows to q. None unless requested.
        q_logprobs: [N, H] log-probability of the chosen token under a softmax of q over all alternatives, in nats. None
            unless requested.
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
        """The minimum q [N, K] over the target heads if they exist, else over the Q heads. A rollout records it."""
        q = self.q_values if self.target_q_values is None else self.target_q_values
        return None if q is None else q.amin(-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """N choices in a batch of streams, with their positions and up to K alternatives each.

    Attributes:
        rows: [N] row of the batch.
        positions: [N] position of the token directly before the choice. The heads are evaluated at this token.
        alternatives: [N, K] ids of the tokens that could be chosen, padded with -1.
        chosen: [N] index of the chosen token among the alternatives.
        whole_vocabulary: whether the policy chose among all tokens. If so, `alternatives` holds only the chosen token.
    """

    rows: Tensor
    positions: Tensor
    alternatives: Tensor
    chosen: Tensor
    whole_vocabulary: bool = False


def entropy(logprobs: Tensor) -> Tensor:
    """Return the entropies [N], in nats, of distributions with log-probabilities [N, K]. Entries of -inf add 0."""
    return -(logprobs.exp() * logprobs.masked_fill(logprobs == -torch.inf, 0.0)).sum(-1)


def pad_alternatives(alternatives: Sequence[Sequence[int]]) -> Tensor:
    """Return the alternatives of N choices as one tensor of token ids, padded with -1. The shape is [N, K]."""
    padded = np.full((len(alternatives), max(map(len, alternatives))), -1, dtype=np.int64)
    for row, tokens in zip(padded, alternatives, strict=True):
        row[: len(tokens)] = tokens
    return torch.from_numpy(padded)
