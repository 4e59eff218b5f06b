"""Q heads of the exact experiments, which have one row of weights per arm, like a table."""

from typing import Any

import torch
from torch import Tensor, nn

from agents.model.heads import Heads


class _ArmHead(nn.Module):
    """A linear layer, initialised to 0, that computes q of the K arms of a bandit.

    Every choice must have all K arms as alternatives.
    """

    def __init__(self, width: int, arms: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, arms)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, hidden: Tensor, tokens: Tensor, embedding: Tensor) -> Tensor:
        q: Tensor = self.out(hidden)
        if q.shape[1] != len(tokens):
            raise ValueError(f"expected all {q.shape[1]} arms as alternatives, got {len(tokens)}")
        return q


class ArmHeads(Heads):
    """The value head, and a Q head with a row of weights for each of `arms` arms."""

    def __init__(self, width: int, arms: int, **options: Any) -> None:
        super().__init__(width, arms, q_heads=0, **options)
        self.q = nn.ModuleList([_ArmHead(width, arms)])


class CentredHeads(ArmHeads):
    """Heads with q(s, a) = v(s) + h(s, a) - sum_b pi(b | s) h(s, b), where h is the output of a linear layer.

    The mean of q under the policy is v(s). The gradient of q(s, a) with respect to h equals the gradient of
    log pi(a | s) with respect to the logits. With both gradients, the changes of the logits therefore stay proportional
    to those of h, which is ACTDE's invariant (see `actde/expected_update.py`).
    """

    def q_values(self, hidden: Tensor, tokens: Tensor, embedding: Tensor, *, target: bool = False) -> Tensor:
        h = super().q_values(hidden, tokens, embedding, target=target)  # [N, U, H]
        with torch.no_grad():
            policy = (hidden.float() @ embedding.float().T).softmax(-1)[:, :, None]
        return h - (policy * h).sum(1, keepdim=True) + self.values(hidden).detach()[:, None, None]
