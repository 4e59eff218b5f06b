"""Optimizers with a fault of `trl-textworld`, the post's text-adventure code.

Agents that were trained with `trl-textworld` did not learn (footnote 8 of the post). Its training step computed the
losses of eight samples in random order, but returned the last loss instead of the sum. Only one of the eight samples
therefore had a gradient.

    python cli.py compare --optimizers ppo,experiments.footnote8:OneOfEightPPO --episodes 16 --minibatches 2 \\
        --micro-batch-tokens 1 --prefix-sharing off

With the last two settings, each micro-batch contains a single segment, so that its loss can be dropped.
"""

from typing import Any

import torch
from torch import Tensor

from actde import ACTDE, PPO, Batch, OptimizerError, Outputs, Targets
from actde.optimizer import Optimizer

SAMPLES = 8  # segments of a gradient step


class OneOfEight(Optimizer):
    """Base class of optimizers that learn from one random segment of every eight. A segment is part of an episode."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._calls = self._kept = 0

    def loss(
        self, batch: Batch, targets: Targets, outputs: Outputs, *, count: float | Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return a tuple (mean loss over the choices, metrics) for a batch of one segment. `count` is ignored.

        Of every eight successive calls, a random one returns its loss, the others 0.

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
