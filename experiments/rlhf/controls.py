"""Optimizers that separate the possible causes of a difference between PPO and ACTDE."""

import torch
from torch import Tensor

from actde import ACTDE, PPO, Batch, Targets, register
from actde.returns import AllReduce, no_reduce


@register
class ScaledPPO(PPO):
    """PPO whose advantages are as large as those of ACTDE: a control for the size of the steps.

    In each rollout, PPO's advantages A(v) are multiplied by mean |A(q)| / mean |A(v)|, where A(q) are the advantages
    of ACTDE. The result therefore shrinks when A(q) shrinks. q is trained as in ACTDE. AdamW cancels a constant factor
    of the gradient, but not a factor that changes.
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
    """ACTDE whose baseline is the q of another sampled token: a control for the noise that q adds.

    The baseline of a token is the q of the token that is half a rollout away. If all texts have the same length, both
    tokens have the same position in their texts, so the baseline still depends on the position as q does.
    """

    name = "actde-permuted"

    def baseline(self, batch: Batch) -> Tensor:
        q = super().baseline(batch)
        choices = q[batch.mask]
        permuted = torch.zeros_like(q)
        permuted[batch.mask] = choices.roll(len(choices) // 2)
        return permuted
