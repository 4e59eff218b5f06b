"""The parts of the trunk as pure functions, and their compilation.

Every tensor has a leading dimension of trials, so that one call of an operation serves all trials. A trunk so small
spends its time in moving tensors through memory. `torch.compile` fuses each part into few loops, which needs a C++
compiler; without one the same functions run unfused. All layers share the code of a part.

Shapes: N trials, H heads of E dims, D = H E, F = 4 D, t positions, J keys, S streams.
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

H: Final = 3
E: Final = 4
D: Final = H * E
F: Final = 4 * D
Weights = Mapping[str, Tensor]
"""Name -> parameter [N, ...], of one layer or of what precedes and follows the layers."""


def embed(tokens: Tensor, places: Tensor, keep: Tensor, scale: Tensor, w: Weights) -> Tensor:
    """tokens [N, t, S] at `places` [N, t, D] to x [N, D, t, S]; keep [N, D, t, S]."""
    cooperate, defect = w["wte"][..., None, None].unbind(1)
    x = torch.where(tokens[:, None] == 1, defect, cooperate) + places.transpose(1, 2)[..., None]
    return x * (keep * scale)


def before(x: Tensor, w: Weights) -> Tensor:
    """The part of a block before attention: query, key and value [N, 3, H, E, t, S] of x [N, D, t, S]."""
    return _linear(_norm(x, "ln1", w), "qkv", w).view(-1, 3, H, E, *x.shape[2:])


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
        later = torch.arange(keys) - torch.arange(t)[:, None] > keys - t
        scores = torch.where(later[:, :, None], -3e38, scores)
    top = scores.detach().amax(3, keepdim=True)
    weights = torch.exp2((scores - top) * 1.4426950408889634)  # inductor stores the result of exp, not of exp2
    kept = weights * keep
    return torch.stack([(kept * v[:, :, e, None]).sum(3) for e in range(E)], 2), weights.sum(3)


def after(x: Tensor, summed: Tensor, total: Tensor, keep: Tensor, scale: Tensor, w: Weights) -> Tensor:
    """The part of a block after attention: the projection and the feed-forward layer; keep [N, 2, D, t, S]."""
    y = (summed * (scale / total)[:, :, None]).flatten(1, 2)
    first, second = (keep * scale).unbind(1)
    x = x + _linear(y, "proj", w) * first
    inner = functional.gelu(_linear(_norm(x, "ln2", w), "fc", w), approximate="tanh")
    return x + _linear(inner, "out", w) * second


def attend_and_after(
    x: Tensor, q: Tensor, k: Tensor, v: Tensor, attention_keep: Tensor, keep: Tensor, scale: Tensor, w: Weights
) -> Tensor:
    """`attend` and `after` in one call, for a rollout, whose tensors are so small that calls take most of the time."""
    return after(x, *attend(q, k, v, attention_keep), keep, scale, w)


def last_norm(x: Tensor, w: Weights) -> Tensor:
    """The last hidden state [N, D, t, S] of x."""
    return _norm(x, "lnf", w)


def _linear(x: Tensor, name: str, w: Weights) -> Tensor:
    """[N, in, t, S] to [N, out, t, S], by each trial's weights."""
    weight, bias = w[f"{name}_weight"], w[f"{name}_bias"]
    return torch.baddbmm(bias[:, :, None], weight, x.flatten(2)).view(-1, weight.shape[1], *x.shape[2:])


def _norm(x: Tensor, name: str, w: Weights) -> Tensor:
    """LayerNorm (Ba et al. 2016) of x [N, D, t, S] over D, by each trial's weights."""
    centred = x - x.mean(1, keepdim=True)
    scale = torch.rsqrt(centred.square().mean(1, keepdim=True) + 1e-5)
    return torch.addcmul(w[f"{name}_bias"][..., None, None], centred * scale, w[f"{name}_weight"][..., None, None])


def can_compile() -> bool:
    """Whether the C++ compiler and the header file of Python that `torch.compile` needs are installed."""
    header = Path(sysconfig.get_path("include")) / "Python.h"
    return shutil.which(os.environ.get("CXX", "g++")) is not None and header.exists()


@cache
def compiled(part: Callable[..., Any]) -> Callable[..., Any]:
    """The part by `torch.compile`, whose import takes seconds. It compiles once for each combination of shapes.

    Inductor's thresholds are raised so that `attend` stores no [t, J] matrix, but computes it again where it is needed.
    """
    names = ("realize_reads_threshold", "realize_acc_reads_threshold", "realize_opcount_threshold")
    return torch.compile(part, options=dict.fromkeys(names, 1000), dynamic=False)


def mark_dynamic(*dims: tuple[Tensor, int]) -> None:
    """Mark dimensions whose size may change without another compilation."""
    for tensor, dim in dims:
        torch._dynamo.mark_dynamic(tensor, dim)
