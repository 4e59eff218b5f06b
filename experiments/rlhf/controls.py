"""Variants of PPO and ACTDE that serve as controls in `screening.py`."""

import torch
from torch import Tensor

from actde import ACTDE, PPO, Batch, Targets, register
from actde.returns import AllReduce, no_reduce


@register
class ScaledPPO(PPO):
    """PPO with advantages rescaled to ACTDE's mean absolute advantage."""

    name = "ppo-scaled"
    needs_q = True

    def targets(self, batch: Batch, *, all_reduce: AllReduce = no_reduce) -> Targets:
        targets = super().targets(batch, all_reduce=all_reduce)
        actde = ACTDE(self.config).targets(batch, all_reduce=all_reduce)
        ppo_size, actde_size = (all_reduce(target.advantages.abs().sum()) for target in (targets, actde))
        return Targets(
            advantages=targets.advantages * (actde_size / ppo_size.clamp(min=1e-12)), returns=targets.returns
        )


@register
class PermutedACTDE(ACTDE):
    """ACTDE whose baseline is q of another token in the batch."""

    name = "actde-permuted"

    def baseline(self, batch: Batch) -> Tensor:
        q = super().baseline(batch)
        chosen_q = q[batch.mask]
        # the other token may have the same position, so the baseline can still depend on the position
        permuted = torch.zeros_like(q)
        permuted[batch.mask] = chosen_q.roll(len(chosen_q) // 2)
        return permuted
