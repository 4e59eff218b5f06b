"""The random numbers of several trials, each trial from a generator and a seed of its own."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Random:
    """One SFC64 generator per trial. A trial's numbers do not depend on the trials that run beside it."""

    def __init__(self, seeds: Sequence[np.random.SeedSequence]) -> None:
        self._generators = [np.random.SFC64(seed) for seed in seeds]

    def keep(self, size: int, dropout: float) -> Tensor:
        """[trials, size] uint8: 0 with probability `dropout`, rounded to a 65,536th, otherwise 1.

        At dropout 0 no number is drawn.
        """
        threshold = round(dropout * 65536)
        if not threshold:
            return torch.ones(len(self._generators), size, dtype=torch.uint8)
        kept = np.empty((len(self._generators), size), bool)
        for generator, row in zip(self._generators, kept, strict=True):
            words: NDArray[Any] = generator.random_raw(-(-size // 4))
            np.greater_equal(words.view(np.uint16)[:size], threshold, out=row)
        return torch.from_numpy(kept.view(np.uint8))

    def uniform(self, size: int) -> Tensor:
        """[trials, size] float32 in [0, 1)."""
        words = np.stack([generator.random_raw(size) for generator in self._generators])
        return torch.from_numpy((words >> np.uint64(40)).astype(np.float32) * np.float32(2**-24))

    def state(self) -> Tensor:
        """[trials, 4] int64, the states of the generators."""
        words = [_words(generator).view(np.int64) for generator in self._generators]
        return torch.from_numpy(np.stack(words))

    def load_state(self, state: Tensor) -> None:
        """Restores what `state` returned; raises `ValueError` if it has another shape."""
        for generator, words in zip(self._generators, state.numpy().view(np.uint64), strict=True):
            changed: Any = {**generator.state, "state": {"state": words}}
            generator.state = changed


def _words(generator: np.random.SFC64) -> NDArray[np.uint64]:
    state: Any = generator.state
    return np.asarray(state["state"]["state"], np.uint64)
