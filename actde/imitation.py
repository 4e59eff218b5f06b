"""Imitation of an expert, and rejection sampling. The caller provides the labels that `Optimizer.labels` names.

v and q are trained as in PPO and ACTDE, so both can start from an imitation policy.
"""

from typing import ClassVar

import torch
from torch import Tensor

from actde.batch import Batch, Outputs, Targets
from actde.optimizer import Labels, Optimizer


class Imitation(Optimizer):
    """Behaviour cloning, and DAgger (Ross, Gordon and Bagnell, 2011) if the policy played and the expert labelled.

        policy loss = -log pi(label_t | s_t),   0 for choices without a label

    The mean is over all choices, including those without a label. The baseline b_t = v(s_t) does not affect the policy;
    the advantage is only reported.
    """

    name = "imitation"
    needs_q = True
    labels: ClassVar[Labels] = "expert"

    def baseline(self, batch: Batch) -> Tensor:
        return batch.values

    def policy_loss(self, batch: Batch, targets: Targets, outputs: Outputs) -> Tensor:
        """[B, T] cross-entropy to the labels, nats."""
        if outputs.label_logprobs is None:  # none of these choices has a label
            return torch.zeros_like(outputs.logprobs)
        return -outputs.label_logprobs


class Rejection(Imitation):
    """Rejection sampling: imitation of the policy's own choices in its best episodes.

    As in RAFT (Dong et al., 2023) and ReST (Gulcehre et al., 2023), with the game's reward in place of a reward model.
    If all episodes are kept, the expected gradient is 0.
    """

    name = "rejection"
    labels: ClassVar[Labels] = "best"
