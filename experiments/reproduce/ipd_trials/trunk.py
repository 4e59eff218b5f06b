"""Small GPT-2 models with policy, v and q heads, batched over trials."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from experiments.reproduce.ipd_trials import blocks
from experiments.reproduce.ipd_trials.blocks import D, E, F, H, Weights

L: Final = 3  # layers
T: Final = 101  # positions: the token before the first action, and 100 actions; v at the last bootstraps the returns
S: Final = 64  # streams: sequences of actions that each trial plays in parallel
LAYER: dict[str, tuple[int, ...]] = {
    "ln1_weight": (D,), "ln1_bias": (D,), "qkv_weight": (3 * D, D), "qkv_bias": (3 * D,),
    "proj_weight": (D, D), "proj_bias": (D,),
    "ln2_weight": (D,), "ln2_bias": (D,), "fc_weight": (F, D), "fc_bias": (F,), "out_weight": (D, F), "out_bias": (D,),
}  # fmt: skip
EMBEDDINGS = {"wte": (2, D), "wpe": (T, D)}
LAST_NORM = {"lnf_weight": (D,), "lnf_bias": (D,)}
SHAPES: dict[str, tuple[int, ...]] = EMBEDDINGS | {name: (L, *shape) for name, shape in LAYER.items()} | LAST_NORM
HEADS = {"policy": (2, D), "value": (1, D), "value_bias": (1,), "q": (2, D), "q_bias": (2,)}
DECAYED = ("qkv_weight", "proj_weight", "fc_weight", "out_weight", "policy", "value", "q")  # by weight decay
# Blocks of query positions. Computing no attention scores after the end of a block saves three eighths of the scores.
BLOCKS = ((0, 25), (25, 50), (50, 76), (76, T))
Heads = tuple[Tensor, Tensor, Tensor]  # outputs for N trials: log pi [N, 2, T, S], v [N, T, S] and q [N, 2, T, S]


class Random:
    """Random number generators, one for each trial."""

    def __init__(self, seeds: Sequence[np.random.SeedSequence]) -> None:
        self._generators = [np.random.SFC64(seed) for seed in seeds]

    def dropout_masks(self, size: int, dropout: float) -> Tensor:
        """Sample uint8 dropout masks [trials, size]. Each element is 0 with probability `dropout`."""
        threshold = round(dropout * 65536)  # the probability is rounded
        if not threshold:
            return torch.ones(len(self._generators), size, dtype=torch.uint8)
        mask = np.empty((len(self._generators), size), bool)
        for generator, row in zip(self._generators, mask, strict=True):
            words: NDArray[Any] = generator.random_raw(-(-size // 4))
            np.greater_equal(words.view(np.uint16)[:size], threshold, out=row)
        return torch.from_numpy(mask.view(np.uint8))

    def uniform(self, size: int) -> Tensor:
        """Sample float32 numbers [trials, size] uniformly from [0, 1)."""
        words = np.stack([generator.random_raw(size) for generator in self._generators])
        return torch.from_numpy((words >> np.uint64(40)).astype(np.float32) * np.float32(2**-24))

    def state(self) -> Tensor:
        """Return the states [trials, 4] of the generators as int64."""
        states: list[Any] = [generator.state for generator in self._generators]
        return torch.from_numpy(np.stack([state["state"]["state"] for state in states]).view(np.int64))

    def load_state(self, state: Tensor) -> None:
        """Restore the states of the random generators."""
        for generator, words in zip(self._generators, state.numpy().view(np.uint64), strict=True):
            changed: Any = {**generator.state, "state": {"state": words}}
            generator.state = changed


class Model(nn.Module):
    """One model per trial, initialized like GPT-2 with one of the `generators`."""

    def __init__(
        self, generators: Sequence[torch.Generator], *, dropout: float, detach_heads: bool, compiled: bool = False
    ) -> None:
        super().__init__()
        parameters = [
            {n: _initial_parameter(n, s, generator) for n, s in (SHAPES | HEADS).items()} for generator in generators
        ]
        self.weights = nn.ParameterDict(
            {n: torch.stack([of_trial[n] for of_trial in parameters]) for n in SHAPES | HEADS}
        )
        self.trials, self.detach_heads, self.dropout, self.compiled = len(parameters), detach_heads, dropout, compiled
        self.scale = torch.tensor(65536 / (65536 - round(dropout * 65536)))  # 1 / (1 - p) for the rounded p of `Random`

    @torch.no_grad()
    def generate(self, first_tokens: Tensor, random: Random) -> tuple[Tensor, Heads]:
        """Sample 100 actions after `first_tokens`. Return all tokens and the heads' outputs."""
        n, w = self.trials, self.weights
        tokens = torch.zeros(n, T, S, dtype=torch.int64)
        tokens[:, 0] = first_tokens
        uniform, residual_masks = random.uniform(T * S).view(n, T, S), self._residual_masks(random)
        attention_masks = self._attention_masks([(t + 1, 1) for t in range(T)], random)
        cache, hidden = torch.empty(L, n, 2, H, E, T, S), torch.empty(n, D, T, S)
        logit_weights = (w["policy"][:, 1] - w["policy"][:, 0])[:, None]
        outer, layers = self._outer_weights(), self._layers()
        for t in range(T):
            step_masks = residual_masks[..., t : t + 1, :]
            x = self._run(
                blocks.embed, tokens[:, t : t + 1], w["wpe"][:, t : t + 1], step_masks[:, 0], self.scale, outer
            )
            for layer, layer_weights in enumerate(layers):
                layer_masks = step_masks[:, 1 + 2 * layer : 3 + 2 * layer]
                x = self._cached_layer(x, cache[layer], attention_masks[t][:, layer], layer_masks, layer_weights)
            hidden[:, :, t] = self._run(blocks.last_norm, x, outer)[:, :, 0]
            if t + 1 < T:
                defect = torch.sigmoid(torch.bmm(logit_weights, hidden[:, :, t])[:, 0])
                tokens[:, t + 1] = uniform[:, t] < defect
        return tokens, self.heads(hidden)

    def _cached_layer(
        self, x: Tensor, cache: Tensor, attention_mask: Tensor, residual_masks: Tensor, w: Weights
    ) -> Tensor:
        """Return a layer's output for one new position. Store the position's key and value in `cache`."""
        # cache [N, 2, H, E, T, S], attention_mask [N, H, 1, J, S], residual_masks [N, 2, D, 1, S]
        length = attention_mask.shape[3]
        qkv = self._run(blocks.project_qkv, x, w)
        cache[..., length - 1, :] = qkv[:, 1:, ..., 0, :]
        k, v = cache[..., :length, :].unbind(1)
        arguments = (x, qkv[:, 0], k, v, attention_mask, residual_masks, self.scale, w)
        if length == 1:  # torch.compile never treats a size of 1 as dynamic
            return blocks.attend_and_finish(*arguments)
        if self.compiled and length == 2:
            for tensor in (k, v, attention_mask):
                torch._dynamo.mark_dynamic(tensor, 3)
        out: Tensor = self._run(blocks.attend_and_finish, *arguments)
        return out

    def forward(self, tokens: Tensor, random: Random) -> Heads:
        """Return the outputs of the heads for `tokens` [trials, positions, streams]."""
        outer, residual_masks = self._outer_weights(), self._residual_masks(random)
        attention_masks = self._attention_masks([(end, end - begin) for begin, end in BLOCKS], random)
        x = self._run(blocks.embed, tokens, self.weights["wpe"], residual_masks[:, 0], self.scale, outer)
        for layer, layer_weights in enumerate(self._layers()):
            q, k, v = self._run(blocks.project_qkv, x, layer_weights).unbind(1)
            outputs = []
            for (begin, end), mask in zip(BLOCKS, attention_masks, strict=True):
                arguments = (q[..., begin:end, :], k[..., :end, :], v[..., :end, :], mask[:, layer])
                outputs.append(self._run(blocks.attend, *arguments))
            summed, total = (torch.cat(tensors, -2) for tensors in zip(*outputs, strict=True))
            layer_masks = residual_masks[:, 1 + 2 * layer : 3 + 2 * layer]
            x = self._run(blocks.finish_layer, x, summed, total, layer_masks, self.scale, layer_weights)
        return self.heads(self._run(blocks.last_norm, x, outer))

    def heads(self, hidden: Tensor) -> Heads:
        """Apply the heads to `hidden`, the output of the trunk."""
        # hidden [N, D, T, S]
        w, flat = self.weights, hidden.flatten(2)
        logprobs = torch.log_softmax(torch.bmm(w["policy"], flat), dim=1)
        head_input = flat.detach() if self.detach_heads else flat
        values = torch.baddbmm(w["value_bias"][:, :, None], w["value"], head_input)
        q_values = torch.baddbmm(w["q_bias"][:, :, None], w["q"], head_input)
        return logprobs.view(-1, 2, T, S), values.view(-1, T, S), q_values.view(-1, 2, T, S)

    def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return (blocks.compiled(function) if self.compiled else function)(*arguments)

    def _layers(self) -> list[Weights]:
        unbound = {name: self.weights[name].unbind(1) for name in LAYER}
        return [{name: weights[layer] for name, weights in unbound.items()} for layer in range(L)]

    def _outer_weights(self) -> Weights:
        return {name: self.weights[name] for name in ("wte", *LAST_NORM)}

    def _residual_masks(self, random: Random) -> Tensor:
        """Sample dropout masks for the embedding and the residual updates."""
        return random.dropout_masks((1 + 2 * L) * D * T * S, self.dropout).view(-1, 1 + 2 * L, D, T, S)

    def _attention_masks(self, sizes: Sequence[tuple[int, int]], random: Random) -> list[Tensor]:
        """Sample a dropout mask for each pair (keys, queries) in `sizes`."""
        lengths = [L * H * t * keys * S for keys, t in sizes]
        masks = torch.split(random.dropout_masks(sum(lengths), self.dropout), lengths, dim=1)
        return [mask.view(-1, L, H, t, keys, S) for mask, (keys, t) in zip(masks, sizes, strict=True)]


def _initial_parameter(name: str, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    if name.endswith("_bias"):
        return torch.zeros(*shape)
    if name.startswith("ln"):
        return torch.ones(*shape)
    std = 0.02 / (2 * L) ** 0.5 if name in ("proj_weight", "out_weight") else 0.02
    return torch.randn(*shape, generator=generator) * std
