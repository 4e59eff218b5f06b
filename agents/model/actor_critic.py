"""One trunk, three heads: what a language-model agent thinks with.

`ActorCritic` wraps any causal decoder of transformers. The trunk is read with or without a cache; the heads
are read only at the positions where a choice was made and only for the tokens that could be chosen, so there
is no lm_head and no Q over text that the agent did not write. Leaves out how streams are kept (stream.py),
how turns are read during play (decoder.py) and how updates are made (train.py).
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from agents.model.heads import Heads
from agents.protocol import AgentError


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadOutputs:
    """What the heads say at N choices with up to K alternatives (padding has log-probability -inf)."""

    logprobs: Tensor
    """[N, K] log pi(token | stream), nats, normalised over the alternatives."""
    values: Tensor
    """[N] v(s), units of reward."""
    q_values: Tensor | None
    """[N, K, H] q(s, token) for each Q head, units of reward."""
    target_q_values: Tensor | None
    """[N, K, H] the same from the target heads; None where there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """Where choices were made in a padded batch of streams, and among what. N choices, K alternatives."""

    rows: Tensor
    """[N] stream of each choice."""
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
        """The causal language model without the wrapper that an adapter puts around it."""
        return self.lm.get_base_model() if hasattr(self.lm, "get_base_model") else self.lm

    @property
    def context(self) -> int:
        """Longest stream that the trunk can read, and read as a whole: a sliding window ends it; tokens."""
        names = ("max_position_embeddings", "sliding_window", "window_size", "attention_chunk_size")
        limits = [getattr(self.base.config, name, None) for name in names]
        return min(int(limit) for limit in limits if limit is not None)

    @property
    def layers(self) -> int:
        """Number of layers that keep keys and values."""
        return int(self.base.config.num_hidden_layers)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def enable_gradient_checkpointing(self) -> None:
        """Keep less of a pass for its gradient and compute it again; in training mode only, never with a cache."""
        newer = hasattr(self.base, "activation_checkpointing_enable")  # transformers 5.2x renamed it
        getattr(self.base, "activation_checkpointing_enable" if newer else "gradient_checkpointing_enable")()

    def hidden_states(self, tokens: Tensor, **kwargs: Any) -> Tensor:
        """Last hidden states [B, L, d] of token ids [B, L]; causal, so padding on the right changes nothing."""
        trunk = getattr(self.base, self.base.base_model_prefix)
        with self._in_trunk_dtype():
            states: Tensor = trunk(input_ids=tokens, **kwargs).last_hidden_state
        return states

    def evaluate_heads(self, hidden: Tensor, alternatives: Tensor) -> HeadOutputs:
        """Read all heads at hidden states [N, d] for alternatives [N, K] (token ids, -1 is padding).

        The lm_head and the Q heads are applied to the distinct tokens of the batch only.
        """
        tokens, where = torch.unique(alternatives.clamp_min(0), return_inverse=True)  # [U], [N, K]
        padding = alternatives < 0
        weight = self.base.get_output_embeddings().weight[tokens]  # [U, d]
        logits = self._logits(hidden, weight, tokens).gather(1, where).masked_fill(padding, -torch.inf)
        q = target = None
        if len(self.heads.q):
            q = _gather(self.heads.q_values(hidden, tokens, weight), where)
            if self.heads.target_q is not None:
                target = _gather(self.heads.q_values(hidden, tokens, weight, target=True), where)
        return HeadOutputs(
            logprobs=logits.log_softmax(-1),
            values=self.heads.values(hidden),
            q_values=q,
            target_q_values=target,
        )

    def all_logprobs(self, hidden: Tensor) -> Tensor:
        """Log-probabilities over the whole vocabulary [N, V] at hidden states [N, d] (free generation)."""
        return self._logits(hidden, self.base.get_output_embeddings().weight, None).log_softmax(-1)

    def forward(self, tokens: Tensor, choices: Choices) -> tuple[HeadOutputs, Tensor]:
        """The update's pass: the trunk once over streams [B, L], the heads at the choices.

        Returns:
            The readout at the N choices, and the entropy of each choice [N], nats.
        """
        return self.evaluate_choices(self.hidden_states(tokens, use_cache=False), choices)

    def evaluate_choices(self, hidden: Tensor, choices: Choices) -> tuple[HeadOutputs, Tensor]:
        """What `forward` returns, from the last hidden states [B, L, d] of its streams."""
        states = hidden[choices.rows, choices.positions]  # [N, d]
        readout = self.evaluate_heads(states, choices.alternatives)
        if not choices.whole_vocabulary:
            return readout, entropy(readout.logprobs)
        every = self.all_logprobs(states)  # [N, V]
        taken = every.gather(1, choices.alternatives)
        whole = HeadOutputs(
            logprobs=taken,
            values=readout.values,
            q_values=readout.q_values,
            target_q_values=readout.target_q_values,
        )
        return whole, entropy(every)

    def _in_trunk_dtype(self) -> torch.autocast:
        """Matrix products in the trunk's dtype, also an adapter's, whose weights are float32 for their small steps."""
        dtype = next(self.base.parameters()).dtype
        return torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32)

    def without_adapter(self) -> AbstractContextManager[Any]:
        """The reference policy where an adapter is trained: the same trunk with the adapter switched off."""
        return self.lm.disable_adapter() if hasattr(self.lm, "disable_adapter") else nullcontext()

    def _logits(self, hidden: Tensor, weight: Tensor, tokens: Tensor | None) -> Tensor:
        bias = getattr(self.base.get_output_embeddings(), "bias", None)
        if bias is not None:
            bias = (bias if tokens is None else bias[tokens]).float()
        return nn.functional.linear(hidden.float(), weight.float(), bias)

    @torch.no_grad()
    def check_logits(self) -> None:
        """Refuse a decoder whose logits are more than its lm_head on the last hidden state.

        Raises:
            AgentError: where logits are scaled or capped afterwards, which the gathered heads would miss.
        """
        training = self.training
        self.eval()
        tokens = torch.arange(min(4, self.base.config.vocab_size), device=self.device)[None]
        ours = self.all_logprobs(self.hidden_states(tokens, use_cache=False)[0])
        with self._in_trunk_dtype():
            theirs = self.lm(input_ids=tokens, use_cache=False).logits[0].float().log_softmax(-1)
        self.train(training)
        off = float((ours - theirs).norm() / theirs.norm())
        if not off < (1e-4 if next(self.base.parameters()).dtype == torch.float32 else 0.02):  # bfloat16 gives 0.002
            raise AgentError(
                f"{type(self.base).__name__} changes its logits after the lm_head (scaling or capping), "
                "which the gathered policy head does not do; choose another decoder"
            )


def entropy(logprobs: Tensor) -> Tensor:
    """Entropy [N] in nats of normalised log-probabilities [N, K]; -inf entries count as impossible."""
    return -(logprobs.exp() * logprobs.masked_fill(logprobs == -torch.inf, 0.0)).sum(-1)


def _gather(q: Tensor, where: Tensor) -> Tensor:
    """[N, U, H] and indices [N, K] to [N, K, H]."""
    return q.gather(1, where[:, :, None].expand(-1, -1, q.shape[2]))
