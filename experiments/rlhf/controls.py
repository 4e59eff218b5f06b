"""Optimizers that separate the possible causes of a difference between PPO and ACTDE."""

import torch
from torch import Tensor

from actde import ACTDE, PPO, Batch, Targets, register
from actde.returns import AllReduce, no_reduce


@register
class ScaledPPO(PPO):
    """PPO whose advantages are as large as those of ACTDE: a control for the size of the steps.

    The advantages of each rollout are multiplied by mean |A(q)| / mean |A(v)|, so they shrink with those of
    ACTDE. q is trained as in ACTDE. AdamW hides a constant factor, but not a factor that changes.
    """

    name = "ppo-scaled"
    needs_q = True

    def targets(self, batch: Batch, *, all_reduce: AllReduce = no_reduce) -> Targets:
        targets = super().targets(batch, all_reduce=all_reduce)
        actde = ACTDE(self.config).targets(batch, all_reduce=all_reduce)
        ours, theirs = (all_reduce(x.advantages.abs().sum()) for x in (targets, actde))
        return Targets(advantages=targets.advantages * (theirs / ours.clamp(min=1e-12)), returns=targets.returns)


@register
class PermutedACTDE(ACTDE):
    """ACTDE whose baseline is q of another choice: a control for the noise that q adds.

    The baseline of a choice is the q of the choice that follows half a rollout later. If all texts have the same
    length, that choice has the same position in its text, so that q's dependence on the position remains.
    """

    name = "actde-permuted"

    def baseline(self, batch: Batch) -> Tensor:
        q = super().baseline(batch)
        choices = q[batch.mask]
        permuted = torch.zeros_like(q)
        permuted[batch.mask] = choices.roll(len(choices) // 2)
        return permuted
