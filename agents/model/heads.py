"""Value and Q heads, computed from the trunk's last hidden state."""

import copy

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

CHUNK = 64  # choices per chunk of `Heads.chosen_q_logprobs`


def _body(width: int, layers: int) -> nn.Module:
    return nn.Identity() if layers == 1 else nn.Sequential(nn.Linear(width, width), nn.GELU(approximate="tanh"))


class ValueHead(nn.Module):
    """Computes the value v(s) from a hidden state."""

    def __init__(self, width: int, *, layers: int) -> None:
        super().__init__()
        self.body = _body(width, layers)
        self.out = nn.Linear(width, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        values: Tensor = self.out(self.body(hidden)).squeeze(-1)
        return values


class QHead(nn.Module):
    """Computes q(s, token) from a hidden state.

    If `tied` is True, the head uses the language model's output embedding.
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
        """Return q [N, U]. `embedding` gets no gradient.

        Shapes: `hidden` [N, d], `tokens` [U], `embedding` [U, d].
        """
        features = self.body(hidden)
        if not self.tied:
            return nn.functional.linear(features, self.out.weight[tokens], self.out.bias[tokens])
        q: Tensor = self.project(features) @ embedding.detach().T / embedding.shape[1] ** 0.5 + self.bias(features)
        return q


class Heads(nn.Module):
    """A value head, Q heads and optional target heads.

    Args:
        q_heads: number of Q heads, of which the minimum is used (Fujimoto et al., 2018).
        target_q: adds target heads, moving averages of the Q heads (Lillicrap et al., 2016).
        dueling: adds v to the output of each Q head (after Wang et al., 2016).
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
        """Map hidden states [N, d] to values v [N]."""
        values: Tensor = self.value((hidden.detach() if self.detach_value else hidden).float())
        return values

    def q_values(self, hidden: Tensor, tokens: Tensor, embedding: Tensor, *, target: bool = False) -> Tensor:
        """Return q [N, U, H] from H heads. `target` selects the target heads.

        Shapes: `hidden` [N, d], `tokens` [U], `embedding` [U, d].
        """
        heads = self.target_q if target and self.target_q is not None else self.q
        states = (hidden.detach() if self.detach_q else hidden).float()
        q = torch.stack([head(states, tokens, embedding.float()) for head in heads], dim=-1)
        return q + self.values(hidden).detach()[:, None, None] if self.dueling else q

    def chosen_q_logprobs(self, hidden: Tensor, chosen: Tensor, embedding: Tensor) -> Tensor:
        """Return log softmax(q) [N, H] of N `chosen` tokens from H heads.

        The softmax is over the whole vocabulary.
        """
        tokens = torch.arange(len(embedding), device=hidden.device)

        def chunk_logprobs(states: Tensor, chosen_tokens: Tensor) -> Tensor:
            logprobs = self.q_values(states, tokens, embedding).log_softmax(1)  # [n, V, H]
            return logprobs.take_along_dim(chosen_tokens[:, None, None], 1).squeeze(1)

        slices = (slice(start, start + CHUNK) for start in range(0, len(hidden), CHUNK))
        return torch.cat(
            [checkpoint(chunk_logprobs, hidden[rows], chosen[rows], use_reentrant=False) for rows in slices]
        )

    @torch.no_grad()
    def sync_targets(self, rate: float) -> None:
        """Update target weights by w_target += rate * (w - w_target), with the Q heads' weights w."""
        if self.target_q is not None:
            for target, source in zip(self.target_q.parameters(), self.q.parameters(), strict=True):
                target.lerp_(source, rate)
