"""The random numbers of a trial: many streams drawn side by side, because dropout wants millions of them at a time."""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from experiments.reproduce.ipd_kernel.arrays import Dropout, Noise
from experiments.reproduce.ipd_kernel.compiled import compiled
from experiments.reproduce.ipd_kernel.kernel import PAIRS, D, H, L, S, T

LANES: Final = 64
"""Streams of random numbers."""
NOISE = ((T, D, S), (L, H, PAIRS, S), (L, 2, T, D, S))
SIZES = [math.prod(shape) for shape in NOISE]
ROTATE, SHIFT = tuple(map(np.uint64, (23, 64 - 23, 45, 64 - 45))), np.uint64(17)


@compiled
def fill(state: Any, out: Any) -> None:
    """Random 64-bit numbers into out [n, LANES] from state [4, LANES], which moves on.

    Each lane is a xoshiro256++ (Blackman and Vigna 2021) with a state of its own; numpy's generators draw one
    number at a time, and dropout would wait for them.
    """
    left, unleft, turn, unturn = ROTATE
    for i in range(out.shape[0]):
        for lane in range(LANES):
            a, b, c, d = state[0, lane], state[1, lane], state[2, lane], state[3, lane]
            total = a + d
            out[i, lane] = ((total << left) | (total >> unleft)) + a
            c ^= a
            d ^= b
            state[0, lane] = a ^ d
            state[1, lane] = b ^ c
            state[2, lane] = c ^ (b << SHIFT)
            state[3, lane] = (d << turn) | (d >> unturn)


class Random:
    """Where all random numbers of a trial come from, after its first weights."""

    def __init__(self, seed: np.random.SeedSequence) -> None:
        self.state = seed.generate_state(4 * LANES, np.uint64).reshape(4, LANES)
        self._words = np.zeros((-(-sum(SIZES) // (4 * LANES)), LANES), np.uint64)

    def noise(self, drop: Dropout) -> Noise:
        """Fresh numbers for one pass, in room that the next call takes again; none are drawn to drop nothing."""
        if drop.threshold:
            fill(self.state, self._words)
        parts = np.split(self._words.reshape(-1).view(np.uint16)[: sum(SIZES)], np.cumsum(SIZES)[:-1])
        return Noise(*(part.reshape(shape) for part, shape in zip(parts, NOISE, strict=True)))

    def uniform(self) -> NDArray[np.float32]:
        """[T, S] float32 in [0, 1)."""
        words = np.zeros((-(-T * S // LANES), LANES), np.uint64)
        fill(self.state, words)
        mantissas = (words.reshape(-1)[: T * S] >> np.uint64(40)).astype(np.float32)
        return (mantissas * np.float32(2**-24)).reshape(T, S)
