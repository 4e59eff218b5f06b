"""Value and Q heads: what stands on the trunk's last hidden state beside the policy.

The policy head is the model's own lm_head and is not here. q(s, a) is asked only for tokens that were
alternatives, so a Q head never multiplies the whole vocabulary. Small vocabularies get a row of weights per
token (the post's linear 12 -> 2); large ones share the trunk's output embedding (`tied`), which costs
d x d parameters in place of d x V and lets tokens that were never chosen borrow from their neighbours.
"""

import copy
from typing import Literal

import torch
from torch import Tensor, nn

Rows = Literal["own", "tied"]


def _body(width: int, layers: int) -> nn.Module:
    """Identity for one layer; Linear and tanh-GELU for two."""
    if layers == 1:
        return nn.Identity()
    return nn.Sequential(nn.Linear(width, width), nn.GELU(approximate="tanh"))


class ValueHead(nn.Module):
    """v(s) = w f(h) + c for hidden states h; f is the identity (one layer) or Linear and GELU (two)."""

    def __init__(self, width: int, *, layers: int = 1) -> None:
        super().__init__()
        self.body = _body(width, layers)
        self.out = nn.Linear(width, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states [N, d] to values [N], in units of reward."""
        values: Tensor = self.out(self.body(hidden)).squeeze(-1)
        return values


class QHead(nn.Module):
    """q(s, token) for a few tokens: a row of weights per token, `own` or `tied` to the output embedding."""

    def __init__(self, width: int, vocabulary: int, *, layers: int = 1, rows: Rows = "own") -> None:
        super().__init__()
        self.body = _body(width, layers)
        if rows == "own":
            self.out = nn.Linear(width, vocabulary)
        else:
            self.project = nn.Linear(width, width)  # meets the embedding of the token
            self.bias = nn.Linear(width, 1)  # what all tokens have in common

    def begin_at_zero(self) -> None:
        """Set the last layer's weights to 0 (its biases are)."""
        for layer in (self.out,) if hasattr(self, "out") else (self.project, self.bias):
            nn.init.zeros_(layer.weight)

    def forward(self, hidden: Tensor, tokens: Tensor, embedding: Tensor) -> Tensor:
        """q of the distinct `tokens`.

        Args:
            hidden: [N, d] hidden states.
            tokens: [U] token ids.
            embedding: [U, d] rows of the trunk's output embedding for `tokens`; no gradient flows into them.

        Returns:
            [N, U], in units of reward.
        """
        features = self.body(hidden)
        if hasattr(self, "out"):
            return nn.functional.linear(features, self.out.weight[tokens], self.out.bias[tokens])
        scores: Tensor = self.project(features) @ embedding.detach().T / embedding.shape[1] ** 0.5
        common: Tensor = self.bias(features)
        return scores + common


class Heads(nn.Module):
    """The value head, one or two Q heads and, where asked for, slowly following copies of the Q heads.

    Two Q heads are read as their minimum (Fujimoto et al. 2018), as ILQL does. Target heads follow the
    trained ones by `sync_targets` (Polyak averaging, Lillicrap et al. 2016) and are what the rollout records.
    With `dueling` (after Wang et al. 2016) q(s, a) = v(s) + what the Q head says, which begins at 0; the Q loss
    does not move v. Then ACTDE begins as PPO, and the Q heads' learning rate alone decides how soon it ends.
    """

    def __init__(
        self,
        width: int,
        vocabulary: int,
        *,
        q_heads: int = 1,
        layers: int = 1,
        rows: Rows = "own",
        target_q: bool = False,
        detach_value: bool = False,
        detach_q: bool = False,
        dueling: bool = False,
        init_std: float = 0.0,
    ) -> None:
        super().__init__()
        self.detach_value, self.detach_q, self.dueling = detach_value, detach_q, dueling
        self.value = ValueHead(width, layers=layers)
        self.q = nn.ModuleList(QHead(width, vocabulary, layers=layers, rows=rows) for _ in range(q_heads))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=init_std) if init_std else nn.init.zeros_(module.weight)
                nn.init.zeros_(module.bias)
        if dueling:
            for head in self.q:
                assert isinstance(head, QHead)
                head.begin_at_zero()
        if layers == 2:  # zeros in both layers would never receive a gradient
            for head in (self.value, *self.q):
                nn.init.normal_(head.body[0].weight, std=width**-0.5)
        self.target_q = copy.deepcopy(self.q).requires_grad_(False) if target_q else None

    def values(self, hidden: Tensor) -> Tensor:
        """[N, d] to [N], in units of reward; no gradient into the trunk where the value head is detached."""
        out: Tensor = self.value((hidden.detach() if self.detach_value else hidden).float())
        return out

    def q_values(self, hidden: Tensor, tokens: Tensor, embedding: Tensor, *, target: bool = False) -> Tensor:
        """[N, d] and [U] distinct tokens to [N, U, H], one q for each Q head (or target head)."""
        heads = self.target_q if target and self.target_q is not None else self.q
        source = (hidden.detach() if self.detach_q else hidden).float()
        q = torch.stack([head(source, tokens, embedding.float()) for head in heads], dim=-1)
        return q + self.values(hidden).detach()[:, None, None] if self.dueling else q

    @torch.no_grad()
    def sync_targets(self, rate: float) -> None:
        """target <- target + rate (q - target); nothing where there are no target heads."""
        if self.target_q is None:
            return
        for target, source in zip(self.target_q.parameters(), self.q.parameters(), strict=True):
            target.lerp_(source, rate)
