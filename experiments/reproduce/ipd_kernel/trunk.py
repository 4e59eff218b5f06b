"""The post's model: the compiled trunk as a differentiable function of its weights, and three linear heads.

The trunk's gradient is the kernel's; torch sees one operation. Leaves out where actions come from and what is
learned from them (trial.py).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from experiments.reproduce.ipd_kernel import arrays, kernel
from experiments.reproduce.ipd_kernel.arrays import Noise, Weights
from experiments.reproduce.ipd_kernel.kernel import D, E, F, H, L, S, T
from experiments.reproduce.ipd_kernel.random import Random

LINEAR = ("qkv_weight", "proj_weight", "fc_weight", "out_weight")
"""Weights that `backward` also wants the other way round."""
BIASES = ("qkv_bias", "proj_bias", "fc_bias", "out_bias")
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
DECAYED = (*LINEAR, "policy", "value", "q")
"""Matrices of linear layers, on which weight decay acts; not embeddings, norms and biases."""


class Model(nn.Module):
    """Trunk and heads of one trial. The policy head has no bias; v and q each have one.

    Initialised as GPT-2: matrices and embeddings N(0, 0.02), those that write to the residual stream by
    sqrt(2 L) less, biases 0, norms 1.
    """

    def __init__(self, generator: torch.Generator, *, dropout: float, detach_heads: bool) -> None:
        super().__init__()
        self.weights = nn.ParameterDict({n: _initial(n, s, generator) for n, s in (SHAPES | HEADS).items()})
        self.detach_heads = detach_heads
        self.dropout = arrays.dropout(dropout)
        self._activations, self._gradients = arrays.activations(), arrays.gradients()
        self._scratch = arrays.scratch()

    def trunk_weights(self) -> Weights:
        """The trunk's parameters as arrays that share their memory."""
        return Weights(*(self.weights[name].detach().numpy() for name in SHAPES))

    def generate(self, first: NDArray[Any], random: Random) -> tuple[NDArray[Any], Tensor, Tensor, Tensor]:
        """Play on after the tokens `first` [S].

        Returns:
            tokens [T, S] (the first row is `first`), and what the heads said on the way: log pi [2, T, S],
            v [T, S] and q [2, T, S]. Without gradient.
        """
        tokens = np.zeros((T, S), np.int64)
        tokens[0] = first
        noise, chance = random.noise(self.dropout), random.uniform()
        policy, act = self.weights["policy"].detach().numpy(), self._activations
        kernel.generate(self.trunk_weights(), policy, tokens, chance, noise, self.dropout, act, self._scratch)
        with torch.no_grad():
            return tokens, *self.heads(torch.from_numpy(act.hidden))

    def forward(self, tokens: NDArray[Any], random: Random) -> tuple[Tensor, Tensor, Tensor]:
        """log pi [2, T, S], v [T, S] and q [2, T, S] at every position of tokens [T, S], with gradient.

        One pass at a time: its activations are overwritten by the next, so go back before going on.
        """
        weights = [self.weights[name] for name in SHAPES]
        hidden: Tensor = _Trunk.apply(self, tokens, random.noise(self.dropout), *weights)  # type: ignore[no-untyped-call]
        return self.heads(hidden)

    def heads(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """hidden [D, T, S] to log pi [2, T, S], v [T, S], q [2, T, S]."""
        w, flat = self.weights, hidden.reshape(D, -1)
        logprobs = torch.log_softmax(w["policy"] @ flat, dim=0)
        below = flat.detach() if self.detach_heads else flat
        values, q_values = w["value"] @ below + w["value_bias"], w["q"] @ below + w["q_bias"][:, None]
        return logprobs.view(2, T, S), values.view(T, S), q_values.view(2, T, S)


def _initial(name: str, shape: Sequence[int], generator: torch.Generator) -> nn.Parameter:
    if name.endswith("_bias"):
        return nn.Parameter(torch.zeros(*shape))
    if name.startswith("ln"):
        return nn.Parameter(torch.ones(*shape))
    std = 0.02 / (2 * L) ** 0.5 if name in ("proj_weight", "out_weight") else 0.02
    return nn.Parameter(torch.randn(*shape, generator=generator) * std)


def _by_stream(name: str, array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Zeros like the array; for linear biases, one for each stream."""
    return np.zeros((*array.shape, S) if name in BIASES else array.shape, np.float32)


class _Trunk(torch.autograd.Function):
    """The kernel's `forward` and `backward` as one operation."""

    @staticmethod
    def forward(ctx: Any, model: Model, tokens: NDArray[Any], noise: Noise, *weights: Tensor) -> Tensor:
        ctx.model, ctx.tokens, ctx.noise = model, tokens, noise
        act = model._activations
        kernel.forward(model.trunk_weights(), tokens, noise, model.dropout, act, model._scratch)
        return torch.from_numpy(act.hidden).clone()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        model, w = ctx.model, ctx.model.trunk_weights()
        turned = w._replace(**{name: np.ascontiguousarray(getattr(w, name).swapaxes(1, 2)) for name in LINEAR})
        dw = w._replace(**{name: _by_stream(name, array) for name, array in w._asdict().items()})
        dhidden = upstream[0].contiguous().numpy()
        room = (model._activations, model._gradients, dw, model._scratch)
        kernel.backward(w, turned, ctx.tokens, dhidden, ctx.noise, model.dropout, *room)
        dw = dw._replace(**{name: getattr(dw, name).sum(axis=-1) for name in BIASES})
        return None, None, None, *map(torch.from_numpy, dw)


assert E * H == D
