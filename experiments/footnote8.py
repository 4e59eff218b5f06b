"""Optimizers with a fault of `trl-textworld`, the post's text-adventure code.

Agents that were trained with `trl-textworld` did not learn (footnote 8 of the post). The code's training step computed
the losses of eight samples in random order, but returned the last loss instead of the sum of all eight. Only one of the
eight samples therefore had a gradient.

    python cli.py compare --optimizers ppo,experiments.footnote8:OneOfEightPPO --episodes 16 --minibatches 2 \\
        --micro-batch-tokens 1 --prefix-sharing off

With the last two settings, each micro-batch contains a single segment. The optimizers need this to drop the losses of
seven segments.
"""

from typing import Any

import torch
from torch import Tensor

from actde import ACTDE, PPO, Batch, OptimizerError, Outputs, Targets
from actde.optimizer import Optimizer

SAMPLES = 8  # segments of a gradient step


class OneOfEight(Optimizer):
    """Base class of optimizers that use one random segment (a part of an episode) of each eight for the gradient."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._calls = self._kept = 0

    def loss(
        self, batch: Batch, targets: Targets, outputs: Outputs, *, count: float | Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return a tuple (mean loss, metrics) for a batch that consists of one segment.

        Of every eight successive calls, a random one returns its loss. The other seven return a loss of 0. `count` is
        ignored: the loss is always the mean over the choices of the segment.

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
