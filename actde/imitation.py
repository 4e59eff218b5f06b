"""Imitation of an expert, and rejection sampling."""

from typing import ClassVar

import torch
from torch import Tensor

from actde.batch import Batch, Outputs, Targets
from actde.optimizer import Labels, Optimizer


class Imitation(Optimizer):
    """Behaviour cloning: minimise the cross-entropy to the actions of an expert.

        policy loss = -log pi(label_t | s_t),   0 at choices without a label

    The caller provides label_t, the expert's action. If the policy plays and the expert only provides labels, the
    algorithm is DAgger (Ross, Gordon and Bagnell, 2011). The loss is averaged over all choices, including those without
    a label. v and q are trained as in ACTDE.
    """

    name = "imitation"
    needs_q = True
    learns_off_policy = True
    labels: ClassVar[Labels] = "expert"

    def baseline(self, batch: Batch) -> Tensor:
        return batch.values

    def policy_loss(self, batch: Batch, targets: Targets, outputs: Outputs) -> Tensor:
        label_logprobs = outputs.label_logprobs  # None if none of these choices has a label
        return torch.zeros_like(outputs.logprobs) if label_logprobs is None else -label_logprobs


class Rejection(Imitation):
    """Rejection sampling: imitation of the policy's own choices in its best episodes.

    RAFT (Dong et al., 2023) and ReST (Gulcehre et al., 2023) do the same with a reward model. Without the selection
    of episodes, the policy would learn nothing: the expected gradient E[grad log pi(a | s)] over all episodes is 0.
    """

    name = "rejection"
    labels = "best"
