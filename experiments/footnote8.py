"""PPO and ACTDE with a bug of `trl-textworld`, the code of Turner and Einhorn (2023, footnote 8).

The bug: only one of eight samples had a gradient.
"""

from typing import Any

import torch
from torch import Tensor

from actde import ACTDE, PPO, Batch, OptimizerError, Outputs, Targets
from actde.optimizer import Optimizer

SAMPLES = 8  # segments of a gradient step


class OneOfEight(Optimizer):
    """Base class of optimizers that learn from one random segment of every eight."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._calls = self._selected_call = 0

    def loss(
        self, batch: Batch, targets: Targets, outputs: Outputs, *, count: float | Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and the metrics of one segment. The loss is 0 in seven of eight calls.

        Raises:
            OptimizerError: the batch has several segments.
        """
        if len(batch) > 1:
            raise OptimizerError("one segment of eight counts only with --micro-batch-tokens 1 --prefix-sharing off")
        # `trl-textworld` took eight samples in random order, and returned the last loss instead of the sum
        if self._calls % SAMPLES == 0:
            self._selected_call = self._calls + int(torch.randint(SAMPLES, ()))
        loss, metrics = super().loss(batch, targets, outputs)
        self._calls += 1
        return loss * (self._calls - 1 == self._selected_call), metrics


class OneOfEightPPO(OneOfEight, PPO):
    """PPO that learns from one of eight segments."""

    name = "one-of-eight-ppo"


class OneOfEightACTDE(OneOfEight, ACTDE):
    """ACTDE that learns from one of eight segments."""

    name = "one-of-eight-actde"
