"""Optimizers that separate the possible causes of a difference between PPO and ACTDE."""

import torch
from torch import Tensor

from actde import ACTDE, PPO, Batch, Targets, register
from actde.returns import AllReduce, no_reduce


@register
class ScaledPPO(PPO):
    """PPO with advantages as large as ACTDE's on average: a control for the size of the steps."""

    name = "ppo-scaled"
    needs_q = True

    def targets(self, batch: Batch, *, all_reduce: AllReduce = no_reduce) -> Targets:
        targets = super().targets(batch, all_reduce=all_reduce)
        actde = ACTDE(self.config).targets(batch, all_reduce=all_reduce)
        ours, theirs = (all_reduce(x.advantages.abs().sum()) for x in (targets, actde))
        return Targets(advantages=targets.advantages * (theirs / ours.clamp(min=1e-12)), returns=targets.returns)


@register
class PermutedACTDE(ACTDE):
    """ACTDE with the q of another token as baseline: a control for the noise that q adds.

    The other token may have the same position in its text. The baseline then still depends on the position.
    """

    name = "actde-permuted"

    def baseline(self, batch: Batch) -> Tensor:
        q = super().baseline(batch)
        choices = q[batch.mask]
        permuted = torch.zeros_like(q)
        permuted[batch.mask] = choices.roll(len(choices) // 2)
        return permuted
