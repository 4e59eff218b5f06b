"""Optimizers with a fault of `trl-textworld`, the post's text-adventure code.

The agents of this code did not learn (footnote 8 of the post). Its training step went through eight samples in
random order, and returned the loss of the last one instead of the sum of all eight. Only one of the eight samples
therefore had a gradient.

    python cli.py compare --optimizers ppo,experiments.footnote8:OneOfEightPPO --episodes 16 --minibatches 2 \\
        --micro-batch-tokens 1 --prefix-sharing off

The last two settings compute the loss of each segment in a micro-batch of its own, which the fault requires.
"""

from typing import Any

import torch
from torch import Tensor

from actde import ACTDE, PPO, Batch, OptimizerError, Outputs, Targets
from actde.optimizer import Optimizer

SAMPLES = 8  # segments of a gradient step


class OneOfEight(Optimizer):
    """Base class of optimizers whose gradient is that of one random segment of every eight."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._calls = self._kept = 0

    def loss(
        self, batch: Batch, targets: Targets, outputs: Outputs, *, count: float | Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the segment's mean loss and metrics. The loss is 0 unless the segment is the selected one of eight.

        Raises:
            OptimizerError: the batch has several segments.
        """
        if len(batch) > 1:
            raise OptimizerError("one segment of eight counts only with --micro-batch-tokens 1 --prefix-sharing off")
        if self._calls % SAMPLES == 0:
            self._kept = self._calls + int(torch.randint(SAMPLES, ()))
        loss, metrics = super().loss(batch, targets, outputs)
        self._calls += 1
        return loss * (self._calls - 1 == self._kept), metrics


class OneOfEightPPO(OneOfEight, PPO):
    """PPO that learns from one random segment of every eight."""

    name = "one-of-eight-ppo"


class OneOfEightACTDE(OneOfEight, ACTDE):
    """ACTDE that learns from one random segment of every eight."""

    name = "one-of-eight-actde"
