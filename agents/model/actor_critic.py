"""A language model with a value head and Q heads."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from agents.model.head_outputs import Choices, HeadOutputs, entropy
from agents.model.heads import Heads
from agents.model.logit_transform import LogitTransform, measure_transform
from agents.model.vocabulary_terms import RowFunction, VocabularyTerms, bfloat16_factors


class ActorCritic(nn.Module):
    """A language model from `transformers` (the trunk) with heads.

    If `noisy_trunk` is False, the trunk's dropout stays off in training mode.
    """

    def __init__(self, lm: nn.Module, heads: Heads, *, noisy_trunk: bool = True) -> None:
        super().__init__()
        self.lm: Any = lm
        self.heads, self.noisy_trunk, self.gathered_by_layer = heads, noisy_trunk, False
        # by name; `parameters()` returns whole parameters while the trunk is gathered
        self.shards: dict[str, nn.Parameter] = {}
        self.logit_transform = LogitTransform()
        self._float32_weight: tuple[tuple[int, int] | None, Tensor]
        self.forget_conversions()

    @property
    def base(self) -> Any:
        """The language model without PEFT's wrapper for an adapter."""
        return self.lm.get_base_model() if hasattr(self.lm, "get_base_model") else self.lm

    @property
    def decoder(self) -> Any:
        """The text decoder, which computes hidden states from token ids."""
        decoder = self.base.get_decoder()
        return self.base.model if decoder is self.base else decoder  # Llama 4 misnames its decoder

    @property
    def config(self) -> Any:
        return self.base.config.get_text_config(decoder=True)

    @property
    def context(self) -> int:
        """Maximum sequence length, in tokens."""
        names = ("max_position_embeddings", "window_size")  # GPT-Neo has a window
        return min(int(limit) for name in names if (limit := getattr(self.config, name, None)) is not None)

    @property
    def layers(self) -> int:
        return int(self.config.num_hidden_layers)

    @property
    def vocabulary(self) -> int:
        """Number of logits per position."""
        return len(self.base.get_output_embeddings().weight)

    @property
    def device(self) -> torch.device:
        return next(self.heads.parameters()).device  # a sharded trunk may be stored on another one

    @property
    def dtype(self) -> torch.dtype:
        """Data type of the trunk. The heads and the adapter are in float32."""
        return next(self.parameters()).dtype

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if mode and not self.noisy_trunk:
            for name, module in self.lm.named_modules():
                recomputed = getattr(module, "gradient_checkpointing", False)  # works only in training mode
                module.training = recomputed or "lora_dropout" in name
        return self

    @contextmanager
    def mode(self, *, training: bool) -> Iterator[None]:
        """Set training or evaluation mode within the context."""
        before = self.training
        self.train(training)
        try:
            yield
        finally:
            self.train(before)

    def enable_gradient_checkpointing(self) -> None:
        """Turn on gradient checkpointing, which acts only in training mode."""
        renamed = hasattr(self.base, "activation_checkpointing_enable")  # renamed in transformers 5.2x
        enable = getattr(self.base, "activation_checkpointing_enable" if renamed else "gradient_checkpointing_enable")
        enable({"use_reentrant": False})  # otherwise, an input without gradient would leave a layer without gradients

    def without_adapter(self) -> AbstractContextManager[Any]:
        return self.lm.disable_adapter() if hasattr(self.lm, "disable_adapter") else nullcontext()

    def hidden_states(self, tokens: Tensor, **kwargs: Any) -> Tensor:
        """Return the last hidden states [B, L, d] of token ids [B, L]."""
        with self.in_trunk_dtype():
            states: Tensor = self.decoder(input_ids=tokens, **kwargs).last_hidden_state
        return states

    def all_logprobs(self, hidden: Tensor) -> Tensor:
        """Map hidden states [N, d] to log-probabilities [N, V] of all V tokens."""
        with bfloat16_factors(enabled=self.dtype == torch.bfloat16):
            z = nn.functional.linear(hidden.float(), self._vocabulary_weight(), self._bias())
            return self.logit_transform(z).log_softmax(-1)

    @torch.no_grad()
    def all_q(self, hidden: Tensor) -> Tensor:
        """Map hidden states [N, d] to q [N, V] of all V tokens."""
        weight = self._vocabulary_weight()
        tokens = torch.arange(len(weight), device=weight.device)
        return self.heads.q_values(hidden, tokens, weight, target=True).amin(-1)

    def evaluate_heads(
        self, hidden: Tensor, alternatives: Tensor, distinct_tokens: tuple[Tensor, Tensor] | None = None
    ) -> HeadOutputs:
        """Evaluate all heads at N choices with up to K alternative tokens.

        Args:
            hidden: [N, d] hidden states.
            alternatives: [N, K] token ids, padded with -1.
            distinct_tokens: [U] distinct token ids, and [N, K] index of each alternative in the ids.
        """
        tokens, index = distinct_tokens or torch.unique(alternatives.clamp_min(0), return_inverse=True)
        weight = self.base.get_output_embeddings().weight[tokens]  # [U, d]
        z = nn.functional.linear(hidden.float(), weight.float(), self._bias(tokens)).gather(1, index)
        logprobs = self.logit_transform(z).masked_fill(alternatives < 0, -torch.inf).log_softmax(-1)
        q = target_q = None
        if len(self.heads.q):
            q = self.heads.q_values(hidden, tokens, weight).take_along_dim(index[:, :, None], 1)
            if self.heads.target_q is not None:
                target_q = self.heads.q_values(hidden, tokens, weight, target=True).take_along_dim(index[:, :, None], 1)
        return HeadOutputs(
            logprobs=logprobs,
            entropy=entropy(logprobs),
            values=self.heads.values(hidden),
            q_values=q,
            target_q_values=target_q,
        )

    def evaluate_choices(
        self,
        hidden: Tensor,
        choices: Choices,
        *,
        reference: RowFunction | None = None,
        with_expected_q: bool = False,
        with_q_logprobs: bool = False,
        distinct_tokens: tuple[Tensor, Tensor] | None = None,
    ) -> HeadOutputs:
        """Evaluate the heads at `choices`.

        `hidden` contains hidden states [B, L, d]. The KL is computed only if `reference` is given.
        """
        states = hidden[choices.rows, choices.positions]  # [N, d]
        heads = self.evaluate_heads(states, choices.alternatives, distinct_tokens)
        if with_q_logprobs:
            heads = replace(heads, q_logprobs=self._q_logprobs(states, choices, heads))
        if choices.whole_vocabulary:
            return self._with_vocabulary_terms(states, choices.alternatives[:, 0], heads, reference, with_expected_q)
        p = heads.logprobs.exp()
        if reference is not None:
            reference_logprobs = reference(slice(None))  # [N, K]; with `whole_vocabulary`, it is [n, V] per slice
            log_ratio = torch.where(reference_logprobs == -torch.inf, 0.0, heads.logprobs - reference_logprobs)
            heads = replace(heads, kl=(p * log_ratio).sum(-1))
        if with_expected_q:
            assert heads.recorded_q is not None
            heads = replace(heads, expected_q=(p * heads.recorded_q.detach()).sum(-1))
        return heads

    def _q_logprobs(self, states: Tensor, choices: Choices, heads: HeadOutputs) -> Tensor:
        if choices.whole_vocabulary:
            weight = self.base.get_output_embeddings().weight
            return self.heads.chosen_q_logprobs(states, choices.alternatives[:, 0], weight)
        assert heads.q_values is not None
        padding = (choices.alternatives < 0)[:, :, None]
        logprobs = heads.q_values.masked_fill(padding, -torch.inf).log_softmax(1)
        return logprobs.take_along_dim(choices.chosen[:, None, None], 1).squeeze(1)

    def _with_vocabulary_terms(
        self, states: Tensor, chosen: Tensor, heads: HeadOutputs, reference: RowFunction | None, with_expected_q: bool
    ) -> HeadOutputs:
        with bfloat16_factors(enabled=self.dtype == torch.bfloat16):
            logprobs, entropies, kl, expected_q = VocabularyTerms.apply(  # type: ignore[no-untyped-call]
                states.float() if torch.is_grad_enabled() else states.detach().float(),
                self._vocabulary_weight(),
                self._bias(),
                self.logit_transform,
                chosen,
                reference,
                (lambda rows: self.all_q(states[rows])) if with_expected_q else None,
            )
        return replace(
            heads,
            logprobs=logprobs[:, None],
            entropy=entropies,
            kl=None if reference is None else kl,
            expected_q=expected_q if with_expected_q else None,
        )

    def forward(self, tokens: Tensor, choices: Choices) -> HeadOutputs:
        """Run the trunk on `tokens` [B, L], and evaluate the heads at `choices`."""
        return self.evaluate_choices(self.hidden_states(tokens, use_cache=False), choices)

    def measure_logit_transform(self) -> None:
        """Fit `self.logit_transform` to the language model. Raise AgentError if no transform fits."""
        tolerance = 1e-4 if self.dtype == torch.float32 else 0.02  # bfloat16 gives 0.002
        with self.mode(training=False), self.in_trunk_dtype():
            lm_head = self.base.get_output_embeddings()
            self.logit_transform = measure_transform(self.lm, self.decoder, lm_head, tolerance=tolerance)

    def in_trunk_dtype(self) -> torch.autocast:
        """Return an autocast context for the trunk's data type."""
        # this also casts the adapter's weights, which are float32 so that rounding does not cancel small update steps
        # a model without memory has no autocast of its own
        device_type = "cpu" if self.device.type == "meta" else self.device.type
        return torch.autocast(device_type, self.dtype, enabled=self.dtype != torch.float32)

    def _vocabulary_weight(self) -> Tensor:
        """Return the lm_head's weight [vocabulary, d], converted to float32."""
        weight: Tensor = self.base.get_output_embeddings().weight
        if weight.requires_grad and torch.is_grad_enabled():
            return weight.float()
        if weight.dtype == torch.float32:
            return weight.detach()  # so that `VocabularyTerms` stores nothing for a backward pass
        key = (weight.data_ptr(), weight._version)
        if key != self._float32_weight[0]:  # generation needs the weight for every token, so it is converted only once
            self._float32_weight = (key, weight.detach().float())
        return self._float32_weight[1]

    def forget_conversions(self) -> None:
        """Free the float32 copy of the lm_head's weight.

        Call this method after gathering a sharded trunk.
        """
        # gathering keeps the weight's address and version, so `_vocabulary_weight` does not notice it
        self._float32_weight = (None, torch.empty(0))

    def _bias(self, tokens: Tensor | None = None) -> Tensor | None:
        bias = getattr(self.base.get_output_embeddings(), "bias", None)
        if bias is not None and not torch.is_grad_enabled():
            bias = bias.detach()
        return None if bias is None else (bias if tokens is None else bias[tokens]).float()
