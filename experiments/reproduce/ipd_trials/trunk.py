"""The post's model for several trials at once: a GPT-2 trunk with heads for the policy, v and q.

Shapes: N trials, L layers, H attention heads of size E, hidden size D = H E, feed-forward size F = 4 D, T positions, S
streams (sequences of actions that each trial plays in parallel).
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from experiments.reproduce.ipd_trials import blocks
from experiments.reproduce.ipd_trials.blocks import D, E, F, H, Weights

L: Final = 3
T: Final = 101  # positions: the token before the first action, and 100 actions; v at the last bootstraps the returns
S: Final = 64
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
Heads = tuple[Tensor, Tensor, Tensor]  # the heads' outputs: log pi [N, 2, T, S], v [N, T, S] and q [N, 2, T, S]


class Random:
    """Random numbers from one generator per trial, so that trials are independent."""

    def __init__(self, seeds: Sequence[np.random.SeedSequence]) -> None:
        self._generators = [np.random.SFC64(seed) for seed in seeds]

    def keep(self, size: int, dropout: float) -> Tensor:
        """Sample masks [trials, size] of dtype uint8, which are 0 with probability `dropout`."""
        threshold = round(dropout * 65536)  # the probability is rounded
        if not threshold:
            return torch.ones(len(self._generators), size, dtype=torch.uint8)
        kept = np.empty((len(self._generators), size), bool)
        for generator, row in zip(self._generators, kept, strict=True):
            words: NDArray[Any] = generator.random_raw(-(-size // 4))
            np.greater_equal(words.view(np.uint16)[:size], threshold, out=row)
        return torch.from_numpy(kept.view(np.uint8))

    def uniform(self, size: int) -> Tensor:
        """Sample float32 numbers [trials, size] uniformly from [0, 1)."""
        words = np.stack([generator.random_raw(size) for generator in self._generators])
        return torch.from_numpy((words >> np.uint64(40)).astype(np.float32) * np.float32(2**-24))

    def state(self) -> Tensor:
        """Return the states [trials, 4] of the generators as int64."""
        states: list[Any] = [generator.state for generator in self._generators]
        return torch.from_numpy(np.stack([state["state"]["state"] for state in states]).view(np.int64))

    def load_state(self, state: Tensor) -> None:
        """Restore a result of `state`. Raise ValueError if its shape is wrong."""
        for generator, words in zip(self._generators, state.numpy().view(np.uint64), strict=True):
            changed: Any = {**generator.state, "state": {"state": words}}
            generator.state = changed


class Model(nn.Module):
    """The trunks and heads of several trials. Each generator initializes one trial as in GPT-2."""

    def __init__(
        self, generators: Sequence[torch.Generator], *, dropout: float, detach_heads: bool, compiled: bool = False
    ) -> None:
        super().__init__()
        drawn = [{n: _initial(n, s, generator) for n, s in (SHAPES | HEADS).items()} for generator in generators]
        self.weights = nn.ParameterDict({n: torch.stack([one[n] for one in drawn]) for n in SHAPES | HEADS})
        self.trials, self.detach_heads, self.dropout, self.compiled = len(drawn), detach_heads, dropout, compiled
        self.scale = torch.tensor(65536 / (65536 - round(dropout * 65536)))  # 1 / (1 - p) for the rounded p of `Random`

    @torch.no_grad()
    def generate(self, first: Tensor, random: Random) -> tuple[Tensor, Heads]:
        """Sample 100 actions per stream after the tokens `first` [N, S].

        Return all tokens [N, T, S], and the outputs of the heads.
        """
        n, w = self.trials, self.weights
        tokens = torch.zeros(n, T, S, dtype=torch.int64)
        tokens[:, 0] = first
        chance, residual = random.uniform(T * S).view(n, T, S), self._residual_masks(random)
        masks = self._attention_masks([(t + 1, 1) for t in range(T)], random)
        cache, hidden = torch.empty(L, n, 2, H, E, T, S), torch.empty(n, D, T, S)
        prefer, ends, layers = (w["policy"][:, 1] - w["policy"][:, 0])[:, None], self._ends(), self._layers()
        for t in range(T):
            keep = residual[..., t : t + 1, :]
            x = self._run(blocks.embed, tokens[:, t : t + 1], w["wpe"][:, t : t + 1], keep[:, 0], self.scale, ends)
            for layer, own in enumerate(layers):
                x = self._next(x, cache[layer], masks[t][:, layer], keep[:, 1 + 2 * layer : 3 + 2 * layer], own)
            hidden[:, :, t] = self._run(blocks.last_norm, x, ends)[:, :, 0]
            if t + 1 < T:
                defect = torch.sigmoid(torch.bmm(prefer, hidden[:, :, t])[:, 0])
                tokens[:, t + 1] = chance[:, t] < defect
        return tokens, self.heads(hidden)

    def _next(self, x: Tensor, cache: Tensor, mask: Tensor, keep: Tensor, w: Weights) -> Tensor:
        """Return a layer's output for `x` [N, D, 1, S], and store the new key and value in `cache`.

        Shapes: cache [N, 2, H, E, T, S], mask [N, H, 1, J, S], keep [N, 2, D, 1, S].
        """
        keys = mask.shape[3]
        qkv = self._run(blocks.before, x, w)
        cache[..., keys - 1, :] = qkv[:, 1:, ..., 0, :]
        k, v = cache[..., :keys, :].unbind(1)
        arguments = (x, qkv[:, 0], k, v, mask, keep, self.scale, w)
        if keys == 1:  # torch.compile never treats a size of 1 as dynamic
            return blocks.attend_and_after(*arguments)
        if self.compiled and keys == 2:
            for tensor in (k, v, mask):
                torch._dynamo.mark_dynamic(tensor, 3)
        out: Tensor = self._run(blocks.attend_and_after, *arguments)
        return out

    def forward(self, tokens: Tensor, random: Random) -> Heads:
        """Return the heads' outputs for `tokens` [N, T, S], with gradients."""
        ends, residual = self._ends(), self._residual_masks(random)
        masks = self._attention_masks([(end, end - begin) for begin, end in BLOCKS], random)
        x = self._run(blocks.embed, tokens, self.weights["wpe"], residual[:, 0], self.scale, ends)
        for layer, own in enumerate(self._layers()):
            q, k, v = self._run(blocks.before, x, own).unbind(1)
            parts = []
            for (begin, end), mask in zip(BLOCKS, masks, strict=True):
                part = (q[..., begin:end, :], k[..., :end, :], v[..., :end, :], mask[:, layer])
                parts.append(self._run(blocks.attend, *part))
            summed, total = (torch.cat(found, -2) for found in zip(*parts, strict=True))
            keep = residual[:, 1 + 2 * layer : 3 + 2 * layer]
            x = self._run(blocks.after, x, summed, total, keep, self.scale, own)
        return self.heads(self._run(blocks.last_norm, x, ends))

    def heads(self, hidden: Tensor) -> Heads:
        """Return the heads' outputs for the trunk's output `hidden` [N, D, T, S]."""
        w, flat = self.weights, hidden.flatten(2)
        logprobs = torch.log_softmax(torch.bmm(w["policy"], flat), dim=1)
        below = flat.detach() if self.detach_heads else flat
        values = torch.baddbmm(w["value_bias"][:, :, None], w["value"], below)
        q_values = torch.baddbmm(w["q_bias"][:, :, None], w["q"], below)
        return logprobs.view(-1, 2, T, S), values.view(-1, T, S), q_values.view(-1, 2, T, S)

    def _run(self, part: Callable[..., Any], *arguments: Any) -> Any:
        return (blocks.compiled(part) if self.compiled else part)(*arguments)

    def _layers(self) -> list[Weights]:
        unbound = {name: self.weights[name].unbind(1) for name in LAYER}
        return [{name: weights[layer] for name, weights in unbound.items()} for layer in range(L)]

    def _ends(self) -> Weights:
        return {name: self.weights[name] for name in ("wte", *LAST_NORM)}

    def _residual_masks(self, random: Random) -> Tensor:
        """Sample masks [N, 1 + 2 L, D, T, S] for the embedding and the residual updates."""
        return random.keep((1 + 2 * L) * D * T * S, self.dropout).view(-1, 1 + 2 * L, D, T, S)

    def _attention_masks(self, sizes: Sequence[tuple[int, int]], random: Random) -> list[Tensor]:
        """Sample a mask [N, L, H, t, J, S] for each pair (J keys, t queries) in `sizes`."""
        lengths = [L * H * t * keys * S for keys, t in sizes]
        parts = torch.split(random.keep(sum(lengths), self.dropout), lengths, dim=1)
        return [part.view(-1, L, H, t, keys, S) for part, (keys, t) in zip(parts, sizes, strict=True)]


def _initial(name: str, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    if name.endswith("_bias"):
        return torch.zeros(*shape)
    if name.startswith("ln"):
        return torch.ones(*shape)
    std = 0.02 / (2 * L) ** 0.5 if name in ("proj_weight", "out_weight") else 0.02
    return torch.randn(*shape, generator=generator) * std
