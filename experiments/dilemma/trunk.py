"""The post's model for several trials at once: a GPT-2 trunk of 3 layers and 12 dims, and three linear heads.

Every parameter has a leading dimension of trials, so that one call of a tensor operation serves all trials. A trunk
so small spends its time in attention, in moving [T, T] matrices through memory. `torch.compile` fuses `attend` into
loops that never store them, which needs a C++ compiler; without one the same function runs unfused.

Shapes: N trials, L layers, H heads of E dims, D = H E, F = 4 D, T positions, S streams.
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.dilemma.random import Random

L: Final = 3
H: Final = 3
E: Final = 4
D: Final = H * E
F: Final = 4 * D
T: Final = 101
"""The token before the first action, and 100 actions; the last one's value is the bootstrap."""
S: Final = 64
SHAPES: dict[str, tuple[int, ...]] = {
    "wte": (2, D),
    "wpe": (T, D),
    "ln1_weight": (L, D),
    "ln1_bias": (L, D),
    "qkv_weight": (L, 3 * D, D),
    "qkv_bias": (L, 3 * D),
    "proj_weight": (L, D, D),
    "proj_bias": (L, D),
    "ln2_weight": (L, D),
    "ln2_bias": (L, D),
    "fc_weight": (L, F, D),
    "fc_bias": (L, F),
    "out_weight": (L, D, F),
    "out_bias": (L, D),
    "lnf_weight": (D,),
    "lnf_bias": (D,),
}
HEADS = {"policy": (2, D), "value": (1, D), "value_bias": (1,), "q": (2, D), "q_bias": (2,)}
DECAYED = ("qkv_weight", "proj_weight", "fc_weight", "out_weight", "policy", "value", "q")
"""Matrices of linear layers, on which weight decay acts; not embeddings, norms and biases."""
BLOCKS = ((0, 25), (25, 50), (50, 76), (76, T))
"""Blocks of queries. A block attends to no key after its end, which saves three eighths of the scores."""
Heads = tuple[Tensor, Tensor, Tensor]
"""log pi [N, 2, T, S], v [N, T, S] and q [N, 2, T, S]."""
Weights = Mapping[str, Tensor]


def attend(q: Tensor, k: Tensor, v: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """Causal attention of t queries to J keys, of which the last t are at the queries' own positions.

    Args:
        q: [N, H, E, t, S].
        k, v: [N, H, E, J, S].
        keep: [N, H, t, J, S] uint8, 0 where dropout removes a weight.

    Returns:
        The weighted sum of the kept values [N, H, E, t, S], and the sum of all weights [N, H, t, S].
    """
    q = q * E**-0.5
    scores = q[:, :, 0, :, None] * k[:, :, 0, None]
    for e in range(1, E):
        scores = scores + q[:, :, e, :, None] * k[:, :, e, None]
    t, keys = q.shape[3], k.shape[3]
    if t > 1:
        later = torch.arange(keys) > torch.arange(keys - t, keys)[:, None]
        scores = torch.where(later[:, :, None], -3e38, scores)
    top = scores.detach().amax(3, keepdim=True)
    weights = torch.exp2((scores - top) * 1.4426950408889634)  # inductor stores the result of exp, not of exp2
    kept = weights * keep
    return torch.stack([(kept * v[:, :, e, None]).sum(3) for e in range(E)], 2), weights.sum(3)


def compiler() -> str | None:
    """The path of the C++ compiler that `torch.compile` uses; None where there is none."""
    return shutil.which(os.environ.get("CXX", "g++"))


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function by `torch.compile`, whose import takes seconds. Inductor's thresholds are raised so that no [t, J]
    matrix is stored, but computed again where it is needed."""
    names = ("realize_reads_threshold", "realize_acc_reads_threshold", "realize_opcount_threshold")
    return torch.compile(function, options=dict.fromkeys(names, 1000), dynamic=False)


def embed(tokens: Tensor, places: Tensor, table: Tensor, keep: Tensor, scale: Tensor) -> Tensor:
    """tokens [N, t, S] at `places` [N, t, D], by the embeddings `table` [N, 2, D], to x [N, D, t, S]."""
    cooperate, defect = table[..., None, None].unbind(1)
    x = torch.where(tokens[:, None] == 1, defect, cooperate) + places.transpose(1, 2)[..., None]
    return x * (keep * scale)


def before(x: Tensor, w: Weights) -> Tensor:
    """The part of a block before attention: query, key and value [N, 3, H, E, t, S] of x [N, D, t, S]."""
    return _linear(_norm(x, "ln1", w), "qkv", w).view(-1, 3, H, E, *x.shape[2:])


def after(x: Tensor, summed: Tensor, total: Tensor, keep: Tensor, scale: Tensor, w: Weights) -> Tensor:
    """The part of a block after attention: the projection and the feed-forward layer; keep [N, 2, D, t, S]."""
    y = (summed * (scale / total)[:, :, None]).flatten(1, 2)
    first, second = (keep * scale).unbind(1)
    x = x + _linear(y, "proj", w) * first
    inner = functional.gelu(_linear(_norm(x, "ln2", w), "fc", w), approximate="tanh")
    return x + _linear(inner, "out", w) * second


def last(x: Tensor, w: Weights) -> Tensor:
    """The last hidden state [N, D, t, S] of x."""
    return _norm(x, "lnf", w)


def attend_and_after(
    x: Tensor, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, residual: Tensor, scale: Tensor, w: Weights
) -> Tensor:
    """The rest of a block after `before`; the arguments are those of `attend` and `after`."""
    return after(x, *attend(q, k, v, keep), residual, scale, w)


def _mark(*dims: tuple[Tensor, int]) -> None:
    """Marks dimensions as dynamic, so that their sizes need no new compilation."""
    for tensor, dim in dims:
        torch._dynamo.mark_dynamic(tensor, dim)


def _linear(x: Tensor, name: str, w: Weights) -> Tensor:
    """[N, in, t, S] to [N, out, t, S], by each trial's weights."""
    weight = w[f"{name}_weight"]
    y = torch.baddbmm(w[f"{name}_bias"][:, :, None], weight, x.flatten(2))
    return y.view(-1, weight.shape[1], *x.shape[2:])


def _norm(x: Tensor, name: str, w: Weights) -> Tensor:
    """LayerNorm (Ba et al. 2016) of x [N, D, t, S] over D, by each trial's weights."""
    centred = x - x.mean(1, keepdim=True)
    scale = torch.rsqrt(centred.square().mean(1, keepdim=True) + 1e-5)
    return centred * scale * w[f"{name}_weight"][..., None, None] + w[f"{name}_bias"][..., None, None]


class Model(nn.Module):
    """Trunks and heads of several trials. The policy head has no bias; v and q each have one.

    Initialised as GPT-2: matrices and embeddings N(0, 0.02), those that write to the residual stream by
    sqrt(2 L) less, biases 0, norms 1.

    Args:
        generators: one per trial, for its initial weights.
        fuse: use the compiled attention.

    Raises:
        ValueError: dropout is not in [0, 1).
    """

    def __init__(
        self, generators: Sequence[torch.Generator], *, dropout: float, detach_heads: bool, fuse: bool = False
    ) -> None:
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {dropout}")
        super().__init__()
        drawn = [{n: _initial(n, s, generator) for n, s in (SHAPES | HEADS).items()} for generator in generators]
        self.weights = nn.ParameterDict({n: torch.stack([one[n] for one in drawn]) for n in SHAPES | HEADS})
        self.trials, self.detach_heads, self.dropout = len(generators), detach_heads, dropout
        self._scale = torch.tensor(65536 / (65536 - round(dropout * 65536)))
        self._fuse = fuse

    @torch.no_grad()
    def generate(self, first: Tensor, random: Random) -> tuple[Tensor, Heads]:
        """Play on after the tokens `first` [N, S], with cached keys and values.

        Returns:
            tokens [N, T, S] (the first row is `first`), and the heads' outputs during play.
        """
        n, w = self.trials, self.weights
        tokens = torch.zeros(n, T, S, dtype=torch.int64)
        tokens[:, 0] = first
        chance, residual = random.uniform(T * S).view(n, T, S), self._residual_masks(random)
        rows = [(t + 1, 1) for t in range(T)]
        masks = self._attention_masks(rows, random)
        cache = torch.empty(L, n, 2, H, E, T, S)
        hidden = torch.empty(n, D, T, S)
        prefer, layers = (w["policy"][:, 1] - w["policy"][:, 0])[:, None], self._layers()
        final = {name: w[name] for name in ("lnf_weight", "lnf_bias")}
        rest = attend_and_after  # uncompiled for one key, because a dimension of 1 is never dynamic
        for t in range(T):
            own = residual[:, :, :, t : t + 1]
            x = self._run(embed)(tokens[:, t : t + 1], w["wpe"][:, t : t + 1], w["wte"], own[:, 0], self._scale)
            for layer, weights in enumerate(layers):
                qkv = self._run(before)(x, weights)
                cache[layer][..., t, :] = qkv[:, 1:, :, :, 0]
                keys, values = cache[layer][..., : t + 1, :].unbind(1)
                mask = masks[t][:, layer]
                if t == 1:
                    _mark((keys, 3), (values, 3), (mask, 3))
                x = rest(x, qkv[:, 0], keys, values, mask, own[:, 1 + 2 * layer : 3 + 2 * layer], self._scale, weights)
            x = self._run(last)(x, final)
            rest = self._run(attend_and_after)
            hidden[:, :, t] = x[:, :, 0]
            if t + 1 < T:
                defect = torch.sigmoid(torch.bmm(prefer, hidden[:, :, t])[:, 0])
                tokens[:, t + 1] = chance[:, t] < defect
        return tokens, self.heads(hidden)

    def forward(self, tokens: Tensor, random: Random) -> Heads:
        """The heads' outputs at every position of tokens [N, T, S], with gradient."""
        residual = self._residual_masks(random)
        masks = self._attention_masks([(end, end - begin) for begin, end in BLOCKS], random)
        w = self.weights
        x = self._run(embed)(tokens, w["wpe"], w["wte"], residual[:, 0], self._scale)
        for layer, weights in enumerate(self._layers()):
            q, k, v = self._run(before)(x, weights).unbind(1)
            parts = []
            for (begin, end), mask in zip(BLOCKS, masks, strict=True):
                args = (q[..., begin:end, :], k[..., :end, :], v[..., :end, :], mask[:, layer])
                if layer == 0:
                    _mark(*zip(args, (3, 3, 3, 2), strict=True), (args[3], 3))
                parts.append(self._run(attend)(*args))
            summed, total = torch.cat([part[0] for part in parts], 3), torch.cat([part[1] for part in parts], 2)
            x = self._run(after)(x, summed, total, residual[:, 1 + 2 * layer : 3 + 2 * layer], self._scale, weights)
        return self.heads(self._run(last)(x, {name: w[name] for name in ("lnf_weight", "lnf_bias")}))

    def _run(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return _compiled(function) if self._fuse else function

    def _layers(self) -> list[Weights]:
        """The weights of each layer."""
        parts = {name: self.weights[name].unbind(1) for name in SHAPES if name[:3] not in ("wte", "wpe", "lnf")}
        return [{name: part[layer] for name, part in parts.items()} for layer in range(L)]

    def heads(self, hidden: Tensor) -> Heads:
        """The heads' outputs from the last hidden state [N, D, T, S]."""
        w, flat = self.weights, hidden.flatten(2)
        logprobs = torch.log_softmax(torch.bmm(w["policy"], flat), dim=1)
        below = flat.detach() if self.detach_heads else flat
        values = torch.baddbmm(w["value_bias"][:, :, None], w["value"], below)
        q_values = torch.baddbmm(w["q_bias"][:, :, None], w["q"], below)
        return logprobs.view(-1, 2, T, S), values.view(-1, T, S), q_values.view(-1, 2, T, S)

    def _residual_masks(self, random: Random) -> Tensor:
        """[N, 1 + 2 L, D, T, S] for the embedding and for both residual updates of every layer."""
        return random.keep((1 + 2 * L) * D * T * S, self.dropout).view(-1, 1 + 2 * L, D, T, S)

    def _attention_masks(self, blocks: Sequence[tuple[int, int]], random: Random) -> list[Tensor]:
        """[N, L, H, t, J, S] for every block of t queries to J keys, given as (J, t)."""
        sizes = [L * H * t * keys * S for keys, t in blocks]
        parts = torch.split(random.keep(sum(sizes), self.dropout), sizes, dim=1)
        return [part.view(-1, L, H, t, keys, S) for part, (keys, t) in zip(parts, blocks, strict=True)]


def _initial(name: str, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    if name.endswith("_bias"):
        return torch.zeros(*shape)
    if name.startswith("ln"):
        return torch.ones(*shape)
    std = 0.02 / (2 * L) ** 0.5 if name in ("proj_weight", "out_weight") else 0.02
    return torch.randn(*shape, generator=generator) * std
