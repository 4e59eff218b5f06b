"""Optimizers that separate the possible causes of a difference between PPO and ACTDE."""

import torch
from torch import Tensor

from actde import ACTDE, PPO, Batch, Targets, register
from actde.returns import AllReduce, no_reduce


@register
class ScaledPPO(PPO):
    """PPO with its advantages rescaled to the mean magnitude of ACTDE's: a control for the size of the steps.

    In each rollout, PPO's advantages A(v) are multiplied by mean |A(q)| / mean |A(v)|, where A(q) are the advantages
    of ACTDE. AdamW would cancel a constant factor, but this one differs between rollouts. q is trained as in ACTDE.
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
    """ACTDE with the q of another sampled token as baseline: a control for the noise that q adds.

    The other token is half of the rollout's tokens away. If a rollout has an even number of texts of equal length, both
    tokens have the same position in their texts. The baseline then still depends on the position, as q does.
    """

    name = "actde-permuted"

    def baseline(self, batch: Batch) -> Tensor:
        q = super().baseline(batch)
        choices = q[batch.mask]
        permuted = torch.zeros_like(q)
        permuted[batch.mask] = choices.roll(len(choices) // 2)
        return permuted
