"""`ActorCritic`: a causal language model of transformers with a policy head, a value head and Q heads.

The heads are evaluated at the positions of choices only, for the tokens that could be chosen: no lm_head and no Q over
text that the agent did not write.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from agents.model.heads import Heads
from agents.protocol import AgentError


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadOutputs:
    """Outputs of all heads at N choices with up to K alternatives each (padding has log-probability -inf)."""

    logprobs: Tensor
    """[N, K] log pi(token | stream), nats, normalised over the alternatives or over the whole vocabulary."""
    entropy: Tensor
    """[N] entropy of the policy, nats."""
    values: Tensor
    """[N] v(s), units of reward."""
    q_values: Tensor | None
    """[N, K, H] q(s, token) of each Q head, units of reward; None without Q heads."""
    target_q_values: Tensor | None
    """[N, K, H] the same of the target heads; None without target heads."""

    @property
    def recorded_q(self) -> Tensor | None:
        """[N, K] q as the rollout records it: the minimum over heads, of the target heads where there are any."""
        q = self.q_values if self.target_q_values is None else self.target_q_values
        return None if q is None else q.amin(-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """N choices in a padded batch of streams: where each was made, and among which K alternatives."""

    rows: Tensor
    """[N] row of the batch."""
    positions: Tensor
    """[N] position of the token whose hidden state chose."""
    alternatives: Tensor
    """[N, K] token ids, padded with -1."""
    chosen: Tensor
    """[N] index of the chosen token among the alternatives."""
    whole_vocabulary: bool = False
    """True: the policy chose among all tokens; `alternatives` then holds only the chosen one (K = 1)."""


class ActorCritic(nn.Module):
    """A causal language model and its heads. `forward` serves the update, the other methods the rollout."""

    def __init__(self, lm: nn.Module, heads: Heads) -> None:
        super().__init__()
        self.lm: Any = lm
        self.heads = heads

    @property
    def base(self) -> Any:
        """The causal language model without the wrapper of an adapter."""
        return self.lm.get_base_model() if hasattr(self.lm, "get_base_model") else self.lm

    @property
    def context(self) -> int:
        """Longest stream in tokens that the trunk reads as a whole; a sliding window limits it too."""
        names = ("max_position_embeddings", "sliding_window", "window_size", "attention_chunk_size")
        limits = [getattr(self.base.config, name, None) for name in names]
        return min(int(limit) for limit in limits if limit is not None)

    @property
    def layers(self) -> int:
        """Number of layers that cache keys and values."""
        return int(self.base.config.num_hidden_layers)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass; in training mode only, never with a cache."""
        newer = hasattr(self.base, "activation_checkpointing_enable")  # transformers 5.2x renamed it
        getattr(self.base, "activation_checkpointing_enable" if newer else "gradient_checkpointing_enable")()

    def without_adapter(self) -> AbstractContextManager[Any]:
        """Switch the adapter off: the trunk is then the reference policy. Without an adapter, nothing changes."""
        return self.lm.disable_adapter() if hasattr(self.lm, "disable_adapter") else nullcontext()

    def hidden_states(self, tokens: Tensor, **kwargs: Any) -> Tensor:
        """Last hidden states [B, L, d] of token ids [B, L]; causal, so padding on the right changes nothing."""
        trunk = getattr(self.base, self.base.base_model_prefix)
        with self._in_trunk_dtype():
            states: Tensor = trunk(input_ids=tokens, **kwargs).last_hidden_state
        return states

    def all_logprobs(self, hidden: Tensor) -> Tensor:
        """Log-probabilities over the whole vocabulary [N, V] at hidden states [N, d]."""
        return self._logits(hidden, self.base.get_output_embeddings().weight, None).log_softmax(-1)

    def evaluate_heads(self, hidden: Tensor, alternatives: Tensor) -> HeadOutputs:
        """Evaluate all heads at hidden states [N, d] for alternatives [N, K] (token ids, -1 is padding).

        The lm_head and the Q heads are applied to the distinct tokens of the batch only.
        """
        tokens, index = torch.unique(alternatives.clamp_min(0), return_inverse=True)  # [U], [N, K]
        weight = self.base.get_output_embeddings().weight[tokens]  # [U, d]
        logits = self._logits(hidden, weight, tokens).gather(1, index)
        logprobs = logits.masked_fill(alternatives < 0, -torch.inf).log_softmax(-1)
        q = target = None
        if len(self.heads.q):
            q = self.heads.q_values(hidden, tokens, weight).take_along_dim(index[:, :, None], 1)
            if self.heads.target_q is not None:
                target = self.heads.q_values(hidden, tokens, weight, target=True).take_along_dim(index[:, :, None], 1)
        return HeadOutputs(
            logprobs=logprobs,
            entropy=entropy(logprobs),
            values=self.heads.values(hidden),
            q_values=q,
            target_q_values=target,
        )

    def evaluate_choices(self, hidden: Tensor, choices: Choices) -> HeadOutputs:
        """Evaluate the heads at choices, from the last hidden states [B, L, d] of their streams."""
        states = hidden[choices.rows, choices.positions]  # [N, d]
        heads = self.evaluate_heads(states, choices.alternatives)
        if not choices.whole_vocabulary:
            return heads
        logprobs = self.all_logprobs(states)  # [N, V]
        return replace(heads, logprobs=logprobs.gather(1, choices.alternatives), entropy=entropy(logprobs))

    def forward(self, tokens: Tensor, choices: Choices) -> HeadOutputs:
        """Read streams [B, L] in one pass and evaluate the heads at their choices."""
        return self.evaluate_choices(self.hidden_states(tokens, use_cache=False), choices)

    @torch.no_grad()
    def check_logits(self) -> None:
        """Check that the decoder's logits are its lm_head applied to the last hidden state.

        Raises:
            AgentError: the decoder scales or caps its logits afterwards, which the gathered heads would miss.
        """
        training = self.training
        self.eval()
        tokens = torch.arange(min(4, self.base.config.vocab_size), device=self.device)[None]
        ours = self.all_logprobs(self.hidden_states(tokens, use_cache=False)[0])
        with self._in_trunk_dtype():
            theirs = self.lm(input_ids=tokens, use_cache=False).logits[0].float().log_softmax(-1)
        self.train(training)
        error = float((ours - theirs).norm() / theirs.norm())
        if not error < (1e-4 if next(self.base.parameters()).dtype == torch.float32 else 0.02):  # bfloat16 gives 0.002
            raise AgentError(
                f"{type(self.base).__name__} changes its logits after the lm_head (scaling or capping), "
                "which the gathered policy head does not do; choose another decoder"
            )

    def _in_trunk_dtype(self) -> torch.autocast:
        """Multiply matrices in the trunk's dtype, also the adapter's, whose float32 weights take small steps."""
        dtype = next(self.base.parameters()).dtype
        return torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32)

    def _logits(self, hidden: Tensor, weight: Tensor, tokens: Tensor | None) -> Tensor:
        bias = getattr(self.base.get_output_embeddings(), "bias", None)
        if bias is not None:
            bias = (bias if tokens is None else bias[tokens]).float()
        return nn.functional.linear(hidden.float(), weight.float(), bias)


def entropy(logprobs: Tensor) -> Tensor:
    """Entropy [N] in nats of normalised log-probabilities [N, K]; -inf entries count as impossible."""
    return -(logprobs.exp() * logprobs.masked_fill(logprobs == -torch.inf, 0.0)).sum(-1)


def pad_alternatives(alternatives: Sequence[Sequence[int]]) -> Tensor:
    """Alternatives of N choices as token ids [N, K], padded with -1."""
    padded = np.full((len(alternatives), max(map(len, alternatives))), -1, dtype=np.int64)
    for row, tokens in zip(padded, alternatives, strict=True):
        row[: len(tokens)] = tokens
    return torch.from_numpy(padded)
