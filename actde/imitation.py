"""Imitation of an expert, and rejection sampling."""

from typing import ClassVar

import torch
from torch import Tensor

from actde.batch import Batch, Outputs, Targets
from actde.optimizer import Labels, Optimizer


class Imitation(Optimizer):
    """Behaviour cloning: minimise the cross-entropy to the actions of an expert.

        policy loss = -log pi(label_t | s_t),   0 for choices without a label

    The caller provides the labels. If the policy acts and the expert only labels, the algorithm is DAgger (Ross, Gordon
    and Bagnell, 2011). The loss is averaged over all choices, including those without a label. v and q are trained as
    in ACTDE.
    """

    name = "imitation"
    needs_q = True
    learns_off_policy = True
    labels: ClassVar[Labels] = "expert"

    def baseline(self, batch: Batch) -> Tensor:
        return batch.values

    def policy_loss(self, batch: Batch, targets: Targets, outputs: Outputs) -> Tensor:
        labelled = outputs.label_logprobs  # None if none of these choices has a label
        return torch.zeros_like(outputs.logprobs) if labelled is None else -labelled


class Rejection(Imitation):
    """Rejection sampling: imitation of the policy's own choices in its best episodes.

    RAFT (Dong et al., 2023) and ReST (Gulcehre et al., 2023) do the same with a reward model. Only the selection of
    episodes teaches: with all episodes, the expected gradient would be E[grad log pi(a | s)] = 0.
    """

    name = "rejection"
    labels = "best"
