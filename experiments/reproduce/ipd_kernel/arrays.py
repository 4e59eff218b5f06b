"""The records of arrays that the kernel reads and writes, and the room for them. Computes nothing.

Shapes as in kernel.py: L layers, H heads of E dims, D = H E, F = 4 D, T positions, S streams.
"""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from experiments.reproduce.ipd_kernel.kernel import D, E, F, H, L, S, T

Floats: TypeAlias = NDArray[np.float32]


class Weights(NamedTuple):
    """Parameters of the trunk, as in GPT-2; linear weights are [out, in]."""

    wte: Floats  # [2, D]
    wpe: Floats  # [T, D]
    ln1_weight: Floats  # [L, D]
    ln1_bias: Floats
    qkv_weight: Floats  # [L, 3 D, D]
    qkv_bias: Floats
    proj_weight: Floats  # [L, D, D]
    proj_bias: Floats
    ln2_weight: Floats  # [L, D]
    ln2_bias: Floats
    fc_weight: Floats  # [L, F, D]
    fc_bias: Floats
    out_weight: Floats  # [L, D, F]
    out_bias: Floats
    lnf_weight: Floats  # [D]
    lnf_bias: Floats


class Noise(NamedTuple):
    """Uniform 16-bit numbers; an activation is dropped where its number is below the threshold."""

    embedding: NDArray[np.uint16]  # [T, D, S]
    attention: NDArray[np.uint16]  # [L, H, PAIRS, S]
    residual: NDArray[np.uint16]  # [L, 2, T, D, S]


class Dropout(NamedTuple):
    """What is dropped, and by how much the rest grows: 0 and 1 where nothing is."""

    threshold: np.uint16
    scale: np.float32


class Activations(NamedTuple):
    """What a pass leaves for the pass backwards; made once, and overwritten by every pass."""

    x: Floats  # [T, D, S] the residual stream
    norm1: Floats  # [L, T, D, S] x, centred and scaled
    scale1: Floats  # [L, T, S] by what it was scaled
    q: Floats  # [L, T, H, E, S]
    k: Floats  # [L, H, E, T, S]
    v: Floats  # [L, H, E, T, S]
    top: Floats  # [L, H, T, S] the largest score
    inverse: Floats  # [L, H, T, S] one over the sum of exp(score - top)
    y: Floats  # [L, T, H, E, S] what they gathered
    norm2: Floats
    scale2: Floats
    fc: Floats  # [L, T, F, S] before GELU
    normf: Floats  # [T, D, S]
    scalef: Floats  # [T, S]
    hidden: Floats  # [D, T, S] the last hidden state


class Gradients(NamedTuple):
    """Room for the gradients of activations on the way back."""

    x: Floats  # [T, D, S] of the residual stream
    y: Floats  # [T, H, E, S]
    q: Floats  # [T, H, E, S]
    k: Floats  # [H, E, T, S]
    v: Floats  # [H, E, T, S]


class Scratch(NamedTuple):
    """Rows that one token needs for a moment."""

    a: Floats  # [S]
    b: Floats  # [S]
    rows: Floats  # [T, S]
    more_rows: Floats  # [T, S]
    narrow: Floats  # [D, S]
    h: Floats  # [D, S]
    triple: Floats  # [3 D, S]
    wide: Floats  # [F, S]
    wider: Floats  # [F, S]
    widest: Floats  # [F, S]
    none: Floats  # [F] zeros, the bias of what has none


def activations() -> Activations:
    """Zeroed room for a pass."""
    narrow, wide, rows, columns = (L, T, D, S), (L, T, F, S), (L, T, H, E, S), (L, H, E, T, S)
    shapes = [(T, D, S), narrow, (L, T, S), rows, columns, columns, (L, H, T, S), (L, H, T, S), rows]
    shapes += [narrow, (L, T, S), wide, (T, D, S), (T, S), (D, T, S)]
    return Activations(*(np.zeros(shape, np.float32) for shape in shapes))


def gradients() -> Gradients:
    """Zeroed room for a pass backwards."""
    shapes = [(T, D, S), (T, H, E, S), (T, H, E, S), (H, E, T, S), (H, E, T, S)]
    return Gradients(*(np.zeros(shape, np.float32) for shape in shapes))


def scratch() -> Scratch:
    """Room for one token."""
    shapes = [(S,), (S,), (T, S), (T, S), (D, S), (D, S), (3 * D, S), (F, S), (F, S), (F, S), (F,)]
    return Scratch(*(np.zeros(shape, np.float32) for shape in shapes))


def dropout(p: float) -> Dropout:
    """Drop with probability p, rounded to a 65,536th.

    Raises:
        ValueError: p is not in [0, 1).
    """
    if not 0 <= p < 1:
        raise ValueError(f"dropout must be in [0, 1), got {p}")
    threshold = round(p * 65536)
    return Dropout(np.uint16(threshold), np.float32(65536 / (65536 - threshold)))
