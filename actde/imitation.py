"""Imitation: the policy is made likelier to choose what somebody else, or its own best play, has chosen.

v and q are fitted as in PPO and ACTDE, so what was imitated can be the beginning of either. Who labels the
choices, and which of them, is the caller's affair (`Optimizer.labels` says what is wanted).
"""

from typing import ClassVar

import torch
from torch import Tensor

from actde.batch import Batch, Outputs, Targets
from actde.optimizer import Labels, Optimizer


class Imitation(Optimizer):
    """Behavioural cloning, and DAgger where the labels were asked for while the policy itself played.

        policy loss = -log pi(label_t | s_t) where choice t has a label, 0 where it has none

    Ross, Gordon and Bagnell (2011). The mean is over all choices, those without a label too. The baseline
    b_t = v(s_t) moves nothing here; with it the advantage is a measure: what the play earned above what was expected.
    """

    name = "imitation"
    needs_q = True
    labels: ClassVar[Labels] = "expert"

    def baseline(self, batch: Batch) -> Tensor:
        return batch.values

    def policy_loss(self, batch: Batch, targets: Targets, outputs: Outputs) -> Tensor:
        """[B, T] cross-entropy to the labels, nats."""
        if outputs.label_logprobs is None:  # nobody labelled any of these choices
            return torch.zeros_like(outputs.logprobs)
        return -outputs.label_logprobs


class Rejection(Imitation):
    """Rejection sampling: `Imitation` whose labels are the policy's own choices in its best episodes.

    As in RAFT (Dong et al. 2023) and ReST (Gulcehre et al. 2023), without a reward model: the game's reward
    says which episodes are kept. With all of them kept it imitates its own play, whose expected gradient is 0.
    """

    name = "rejection"
    labels: ClassVar[Labels] = "best"
