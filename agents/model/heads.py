"""Value and Q heads on the trunk's last hidden state. The policy head is the model's own lm_head.

With a small vocabulary, a Q head has a row of weights per token, as in the post by Turner and Einhorn (2023). With a
large vocabulary, Q heads share the trunk's output embedding (`tied`). With hidden size d and vocabulary size V, a tied
head has d x d parameters instead of d x V. It also generalizes to tokens that were never chosen.
"""

import copy

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

ROWS = 64  # choices per chunk of `Heads.chosen_q_logprobs`


def _body(width: int, layers: int) -> nn.Module:
    return nn.Identity() if layers == 1 else nn.Sequential(nn.Linear(width, width), nn.GELU(approximate="tanh"))


class ValueHead(nn.Module):
    """Computes v(s) from the hidden state of s with one linear layer, or with two layers and a GELU between them."""

    def __init__(self, width: int, *, layers: int) -> None:
        super().__init__()
        self.body = _body(width, layers)
        self.out = nn.Linear(width, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        values: Tensor = self.out(self.body(hidden)).squeeze(-1)
        return values


class QHead(nn.Module):
    """Computes q(s, token) for some tokens.

    The last layer has a row of weights per token. If `tied`, it uses the rows of the trunk's output embedding instead.
    """

    def __init__(self, width: int, vocabulary: int, *, layers: int, tied: bool) -> None:
        super().__init__()
        self.body, self.tied = _body(width, layers), tied
        if tied:
            self.project = nn.Linear(width, width)  # multiplied by the token's embedding
            self.bias = nn.Linear(width, 1)  # common to all tokens
        else:
            self.out = nn.Linear(width, vocabulary)

    def forward(self, hidden: Tensor, tokens: Tensor, embedding: Tensor) -> Tensor:
        """Return q of distinct tokens [U] at hidden states [N, d], in units of reward. The shape is [N, U].

        `embedding` [U, d] holds the tokens' rows of the trunk's output embedding, which receive no gradient.
        """
        features = self.body(hidden)
        if not self.tied:
            return nn.functional.linear(features, self.out.weight[tokens], self.out.bias[tokens])
        q: Tensor = self.project(features) @ embedding.detach().T / embedding.shape[1] ** 0.5 + self.bias(features)
        return q


class Heads(nn.Module):
    """The value head, up to two Q heads and optional target copies of the Q heads.

    Two Q heads are combined by their minimum (Fujimoto et al. 2018), as in ILQL. Target heads follow the trained Q
    heads by Polyak averaging (Lillicrap et al. 2016). If there are target heads, the rollout records their q.

    With `dueling` (after Wang et al. 2016), q(s, a) is v(s) plus the output of a Q head. This output is initially
    0, and the Q loss does not change v. ACTDE therefore equals PPO at first, and differs as soon as the Q heads learn.
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
        if layers == 2:  # if both layers were 0, neither would receive a gradient
            for head in (self.value, *self.q):
                nn.init.normal_(head.body[0].weight, std=width**-0.5)
        self.target_q = copy.deepcopy(self.q).requires_grad_(False) if target_q else None

    def values(self, hidden: Tensor) -> Tensor:
        """Map hidden states [N, d] to v [N], in units of reward. With `detach_value`, no gradient reaches the trunk."""
        values: Tensor = self.value((hidden.detach() if self.detach_value else hidden).float())
        return values

    def q_values(self, hidden: Tensor, tokens: Tensor, embedding: Tensor, *, target: bool = False) -> Tensor:
        """Return q of the H Q heads for hidden states [N, d] and distinct tokens [U]. The shape is [N, U, H].

        If `target` is True and there are target heads, return the q of the target heads instead.
        """
        heads = self.target_q if target and self.target_q is not None else self.q
        source = (hidden.detach() if self.detach_q else hidden).float()
        q = torch.stack([head(source, tokens, embedding.float()) for head in heads], dim=-1)
        return q + self.values(hidden).detach()[:, None, None] if self.dueling else q

    def chosen_q_logprobs(self, hidden: Tensor, chosen: Tensor, embedding: Tensor) -> Tensor:
        """Return log softmax(q) of the tokens `chosen` [N] for each of the H Q heads. The shape is [N, H].

        The softmax is over the whole vocabulary, whose output embedding is `embedding` [V, d]. To save memory,
        the function processes `ROWS` choices at a time, and the backward pass recomputes q.
        """
        tokens = torch.arange(len(embedding), device=hidden.device)

        def of(states: Tensor, own: Tensor) -> Tensor:
            logprobs = self.q_values(states, tokens, embedding).log_softmax(1)  # [n, V, H]
            return logprobs.take_along_dim(own[:, None, None], 1).squeeze(1)

        slices = (slice(start, start + ROWS) for start in range(0, len(hidden), ROWS))
        return torch.cat([checkpoint(of, hidden[own], chosen[own], use_reentrant=False) for own in slices])

    @torch.no_grad()
    def sync_targets(self, rate: float) -> None:
        """Move the target heads, if any, towards the Q heads: target <- target + rate (q - target)."""
        if self.target_q is not None:
            for target, source in zip(self.target_q.parameters(), self.q.parameters(), strict=True):
                target.lerp_(source, rate)
