"""Value and Q heads on the trunk's last hidden state; the policy head is the model's own lm_head.

q(s, a) is evaluated for the alternatives of a choice only, never for the whole vocabulary. Small vocabularies have a
row of weights per token (the post's linear 12 -> 2). Large ones share the trunk's output embedding (`tied`), which
takes d x d parameters instead of d x V and generalises to tokens that were never chosen.
"""

import copy

import torch
from torch import Tensor, nn


def _body(width: int, layers: int) -> nn.Module:
    """Identity for one layer; Linear and tanh-GELU for two."""
    if layers == 1:
        return nn.Identity()
    return nn.Sequential(nn.Linear(width, width), nn.GELU(approximate="tanh"))


class ValueHead(nn.Module):
    """v(s) = w f(h) + c for hidden states h; f is the identity (one layer) or Linear and GELU (two)."""

    def __init__(self, width: int, *, layers: int) -> None:
        super().__init__()
        self.body = _body(width, layers)
        self.out = nn.Linear(width, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states [N, d] to values [N], in units of reward."""
        values: Tensor = self.out(self.body(hidden)).squeeze(-1)
        return values


class QHead(nn.Module):
    """q(s, token) for some tokens, with a row of weights per token or `tied` to the output embedding."""

    def __init__(self, width: int, vocabulary: int, *, layers: int, tied: bool) -> None:
        super().__init__()
        self.body, self.tied = _body(width, layers), tied
        if tied:
            self.project = nn.Linear(width, width)  # multiplied by the token's embedding
            self.bias = nn.Linear(width, 1)  # common to all tokens
        else:
            self.out = nn.Linear(width, vocabulary)

    def forward(self, hidden: Tensor, tokens: Tensor, embedding: Tensor) -> Tensor:
        """Evaluate q for distinct tokens.

        Args:
            hidden: [N, d] hidden states.
            tokens: [U] token ids.
            embedding: [U, d] rows of the trunk's output embedding for `tokens`; they get no gradient.

        Returns:
            [N, U], in units of reward.
        """
        features = self.body(hidden)
        if not self.tied:
            return nn.functional.linear(features, self.out.weight[tokens], self.out.bias[tokens])
        scores: Tensor = self.project(features) @ embedding.detach().T / embedding.shape[1] ** 0.5
        common: Tensor = self.bias(features)
        return scores + common


class Heads(nn.Module):
    """The value head, up to two Q heads and optional target copies of the Q heads.

    Two Q heads are combined by their minimum (Fujimoto et al. 2018), as in ILQL. Target heads follow the trained ones
    by Polyak averaging (Lillicrap et al. 2016); the rollout records their q. With `dueling` (after Wang et al. 2016)
    q(s, a) = v(s) + Q head, where the Q head starts at 0 and the Q loss does not move v. Then ACTDE starts as PPO, and
    the Q heads' learning rate alone decides how fast it departs from it.
    """

    def __init__(
        self,
        width: int,
        vocabulary: int,
        *,
        q_heads: int = 1,
        layers: int = 1,
        tied: bool = False,
        target_q: bool = False,
        detach_value: bool = False,
        detach_q: bool = False,
        dueling: bool = False,
        init_std: float = 0.0,
    ) -> None:
        super().__init__()
        self.detach_value, self.detach_q, self.dueling = detach_value, detach_q, dueling
        self.value = ValueHead(width, layers=layers)
        self.q = nn.ModuleList(QHead(width, vocabulary, layers=layers, tied=tied) for _ in range(q_heads))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=init_std) if init_std else nn.init.zeros_(module.weight)
                nn.init.zeros_(module.bias)
        for parameter in self.q.parameters() if dueling else ():
            nn.init.zeros_(parameter)
        if layers == 2:  # zeros in both layers would never receive a gradient
            for head in (self.value, *self.q):
                nn.init.normal_(head.body[0].weight, std=width**-0.5)
        self.target_q = copy.deepcopy(self.q).requires_grad_(False) if target_q else None

    def values(self, hidden: Tensor) -> Tensor:
        """[N, d] to [N], in units of reward; no gradient reaches the trunk where the value head is detached."""
        values: Tensor = self.value((hidden.detach() if self.detach_value else hidden).float())
        return values

    def q_values(self, hidden: Tensor, tokens: Tensor, embedding: Tensor, *, target: bool = False) -> Tensor:
        """[N, d] and [U] distinct tokens to [N, U, H]: q of each Q head, or of each target head."""
        heads = self.target_q if target and self.target_q is not None else self.q
        source = (hidden.detach() if self.detach_q else hidden).float()
        q = torch.stack([head(source, tokens, embedding.float()) for head in heads], dim=-1)
        return q + self.values(hidden).detach()[:, None, None] if self.dueling else q

    @torch.no_grad()
    def sync_targets(self, rate: float) -> None:
        """Move the target heads, if any: target <- target + rate (q - target)."""
        if self.target_q is None:
            return
        for target, source in zip(self.target_q.parameters(), self.q.parameters(), strict=True):
            target.lerp_(source, rate)
