"""Q heads with separate weights for each arm of a bandit."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from agents.model.actor_critic import ActorCritic
from agents.model.heads import Heads
from experiments.rlhf.contrasts import Array


class _ArmHead(nn.Module):
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
    """A value head, and a Q head with separate weights for each arm."""

    def __init__(self, width: int, arms: int, **options: Any) -> None:
        super().__init__(width, arms, q_heads=0, **options)
        self.q = nn.ModuleList([_ArmHead(width, arms)])


class CentredHeads(ArmHeads):
    """Heads with q(s, a) = v(s) + h(s, a) - sum_b pi(b | s) h(s, b), where h is a linear layer."""

    def q_values(self, hidden: Tensor, tokens: Tensor, embedding: Tensor, *, target: bool = False) -> Tensor:
        h = super().q_values(hidden, tokens, embedding, target=target)  # [N, U, H]
        with torch.no_grad():
            policy = (hidden.float() @ embedding.float().T).softmax(-1)[:, :, None]
        return h - (policy * h).sum(1, keepdim=True) + self.values(hidden).detach()[:, None, None]


@torch.no_grad()
def tied_kernel(model: ActorCritic, tokens: Tensor, arms: Tensor) -> Array:
    """Return [K, K]: inner products of the gradients of K arms' q, for a tied Q head."""
    hidden = model.hidden_states(tokens, use_cache=False)[0, -1]
    embeddings = model.base.get_output_embeddings().weight[arms]
    kernel = (hidden.square().sum() + 1) * (1 + embeddings @ embeddings.T / embeddings.shape[1])
    return np.asarray(kernel.numpy(), dtype=np.float64)
