"""The layers of the transformer as pure functions.

Shapes: N trials, H heads of size E, hidden size D, t positions, J keys, S streams.
"""

import os
import shutil
import sysconfig
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

H: Final = 3  # attention heads
E: Final = 4  # size of a head
D: Final = H * E  # hidden size
F: Final = 4 * D  # feed-forward size
Weights = Mapping[str, Tensor]  # parameters [N, ...] by name


def embed(tokens: Tensor, positions: Tensor, mask: Tensor, scale: Tensor, w: Weights) -> Tensor:
    """Return the sum of the token and position embeddings, after dropout."""
    # tokens [N, t, S], positions [N, t, D], mask [N, D, t, S]; `scale` multiplies the numbers that dropout keeps
    cooperate, defect = w["wte"][..., None, None].unbind(1)
    x = torch.where(tokens[:, None] == 1, defect, cooperate) + positions.transpose(1, 2)[..., None]
    return x * (mask * scale)


def project_qkv(x: Tensor, w: Weights) -> Tensor:
    """Return a layer's queries, keys and values, stacked along dimension 1."""
    return _linear(_norm(x, "ln1", w), "qkv", w).view(-1, 3, H, E, *x.shape[2:])  # [N, 3, H, E, t, S]


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Compute causal attention. Return (unnormalized weighted sum of values, sum of weights)."""
    # q [N, H, E, t, S], k and v [N, H, E, J, S], mask [N, H, t, J, S] of dtype uint8
    q = q * E**-0.5
    scores = q[:, :, 0, :, None] * k[:, :, 0, None]
    for e in range(1, E):
        scores = scores + q[:, :, e, :, None] * k[:, :, e, None]
    t, keys = q.shape[3], k.shape[3]
    if t > 1:
        future = torch.arange(keys) - torch.arange(t)[:, None] > keys - t
        scores = torch.where(future[:, :, None], -3e38, scores)
    largest = scores.detach().amax(3, keepdim=True)
    # exp2, because Inductor would store the result of exp
    weights = torch.exp2((scores - largest) * 1.4426950408889634)
    masked = weights * mask
    # [N, H, E, t, S] and [N, H, t, S]; `finish_layer` divides the first by the second
    return torch.stack([(masked * v[:, :, e, None]).sum(3) for e in range(E)], 2), weights.sum(3)


def finish_layer(x: Tensor, summed: Tensor, total: Tensor, residual_masks: Tensor, scale: Tensor, w: Weights) -> Tensor:
    """Return a layer's output for the input `x`. `attend` returns `summed` and `total`."""
    # residual_masks [N, 2, D, t, S] are the dropout masks of the two residual updates
    y = (summed * (scale / total)[:, :, None]).flatten(1, 2)
    first_mask, second_mask = (residual_masks * scale).unbind(1)
    x = x + _linear(y, "proj", w) * first_mask
    activations = functional.gelu(_linear(_norm(x, "ln2", w), "fc", w), approximate="tanh")
    return x + _linear(activations, "out", w) * second_mask


def attend_and_finish(
    x: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attention_mask: Tensor,
    residual_masks: Tensor,
    scale: Tensor,
    w: Weights,
) -> Tensor:
    """Call `attend` and `finish_layer`. Compiling one function instead of two reduces overhead."""
    return finish_layer(x, *attend(q, k, v, attention_mask), residual_masks, scale, w)


def last_norm(x: Tensor, w: Weights) -> Tensor:
    return _norm(x, "lnf", w)


def _linear(x: Tensor, name: str, w: Weights) -> Tensor:  # [N, in, t, S] -> [N, out, t, S]
    weight, bias = w[f"{name}_weight"], w[f"{name}_bias"]
    return torch.baddbmm(bias[:, :, None], weight, x.flatten(2)).view(-1, weight.shape[1], *x.shape[2:])


def _norm(x: Tensor, name: str, w: Weights) -> Tensor:  # LayerNorm (Ba et al. 2016) over D of [N, D, t, S]
    centred = x - x.mean(1, keepdim=True)
    scale = torch.rsqrt(centred.square().mean(1, keepdim=True) + 1e-5)
    return torch.addcmul(w[f"{name}_bias"][..., None, None], centred * scale, w[f"{name}_weight"][..., None, None])


def can_compile() -> bool:
    """Return whether `torch.compile` finds a C++ compiler and Python's header file."""
    header = Path(sysconfig.get_path("include")) / "Python.h"
    return shutil.which(os.environ.get("CXX", "g++")) is not None and header.exists()


@cache
def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    # raised thresholds of Inductor, so that `attend` recomputes the [t, J] attention weights instead of storing them
    names = ("realize_reads_threshold", "realize_acc_reads_threshold", "realize_opcount_threshold")
    return torch.compile(function, options=dict.fromkeys(names, 1000), dynamic=False)
