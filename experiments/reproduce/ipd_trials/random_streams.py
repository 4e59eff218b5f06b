"""Generate random numbers for several trials. Each trial has its own generator with its own seed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Random:
    """One SFC64 generator per trial. A trial's random numbers do not depend on the other trials."""

    def __init__(self, seeds: Sequence[np.random.SeedSequence]) -> None:
        self._generators = [np.random.SFC64(seed) for seed in seeds]

    def keep(self, size: int, dropout: float) -> Tensor:
        """Sample dropout masks of the type uint8. The shape is [trials, size].

        An entry is 0 with the probability `dropout`, rounded to a multiple of 1 / 65,536, and otherwise 1. If the
        rounded probability is 0, no random number is drawn.
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
        """Sample float32 numbers uniformly from [0, 1). The shape is [trials, size]."""
        words = np.stack([generator.random_raw(size) for generator in self._generators])
        return torch.from_numpy((words >> np.uint64(40)).astype(np.float32) * np.float32(2**-24))

    def state(self) -> Tensor:
        """Return the states of the generators as int64. The shape is [trials, 4]."""
        states: list[Any] = [generator.state for generator in self._generators]
        return torch.from_numpy(np.stack([state["state"]["state"] for state in states]).view(np.int64))

    def load_state(self, state: Tensor) -> None:
        """Restore the generators. `state` is the result of the method `state`.

        ValueError is raised if its shape is wrong.
        """
        for generator, words in zip(self._generators, state.numpy().view(np.uint64), strict=True):
            changed: Any = {**generator.state, "state": {"state": words}}
            generator.state = changed
