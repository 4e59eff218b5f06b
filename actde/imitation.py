"""Imitation of an expert, and rejection sampling."""

from typing import ClassVar

import torch
from torch import Tensor

from actde.batch import Batch, Outputs, Targets
from actde.optimizer import Labels, Optimizer


class Imitation(Optimizer):
    """Behaviour cloning: imitation of an expert.

        policy loss = -log pi(label_t | s_t),   0 at actions without a label

    label_t is the expert's action in the state s_t. If the policy's own play provides the states, the algorithm is
    DAgger (Ross, Gordon and Bagnell, 2011). v and q are trained as in ACTDE.
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
    """Rejection sampling: the policy imitates its own actions in its best episodes.

    The caller selects the episodes. RAFT (Dong et al., 2023) and ReST (Gulcehre et al., 2023) select episodes by a
    reward model.
    """

    name = "rejection"
    labels = "best"
