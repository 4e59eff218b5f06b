"""ACTDE on the prisoner's dilemma as a plain PyTorch loop, without a framework.

The experiment is that of the post by Turner and Einhorn (2023). Sizes and settings are those of
`experiments.reproduce.ipd_trials`: 3 layers of width 12, 64 streams of 100 games, and four full-batch steps of AdamW. A
game is a pair of consecutive actions, and a stream is a sequence of actions. The modules are torch's, the rollout
caches keys and values, and nothing is compiled. The losses are implemented here and tested against `actde`.

In shapes, S is the number of streams, T the number of tokens per stream, and d the width.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from games.ipd import PAYOFFS

WIDTH, HEADS, LAYERS, STREAMS, GAMES, POSITIONS = 12, 3, 3, 64, 100, 128
GAMMA, GAE_LAMBDA, CLIP, VALUE_COEF, STEPS = 0.5, 0.95, 0.2, 0.1, 4
DROPOUT, LEARNING_RATE, WEIGHT_DECAY, BETAS = 0.1, 5e-4, 0.1, (0.9, 0.95)
Past = list[tuple[Tensor, Tensor]]
"""Keys and values of each layer, [streams, heads, tokens so far, width of a head]."""


class Block(nn.Module):
    """Attention and a feed-forward layer with pre-normalisation, as in GPT-2."""

    def __init__(self) -> None:
        super().__init__()
        self.before_attention, self.before_mlp = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        up, down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.mlp = nn.Sequential(up, nn.GELU(approximate="tanh"), down, nn.Dropout(DROPOUT))
        self.drop = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Map [S, T, d] to the same shape. Also return the keys and values so far."""
        shape = (x.shape[0], x.shape[1], HEADS, WIDTH // HEADS)
        q, k, v = (part.reshape(shape).transpose(1, 2) for part in self.qkv(self.before_attention(x)).split(WIDTH, -1))
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        dropout = DROPOUT if self.training else 0.0
        seen = scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=past is None)
        x = x + self.drop(self.out(seen.transpose(1, 2).reshape(x.shape)))
        return x + self.mlp(self.before_mlp(x)), (k, v)


class Net(nn.Module):
    """A network that computes the policy, v and q at every position."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(2, WIDTH), nn.Embedding(POSITIONS, WIDTH)
        self.drop = nn.Dropout(DROPOUT)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.last = nn.LayerNorm(WIDTH)
        self.policy, self.value, self.q = nn.Linear(WIDTH, 2, bias=False), nn.Linear(WIDTH, 1), nn.Linear(WIDTH, 2)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, tokens: Tensor, past: Past | None = None) -> tuple[Tensor, Tensor, Tensor, Past]:
        """Map tokens [S, T] to log-probabilities [S, T, 2], v [S, T], q [S, T, 2], and the cache for the next call."""
        start = past[0][0].shape[2] if past else 0
        x = self.drop(self.tokens(tokens) + self.places(torch.arange(start, start + tokens.shape[1])))
        cache: Past = []
        for index, block in enumerate(self.blocks):
            x, keys_and_values = block(x, past[index] if past else None)
            cache.append(keys_and_values)
        x = self.last(x)
        return self.policy(x).log_softmax(-1), self.value(x).squeeze(-1), self.q(x), cache


class Loop:
    """A model that plays and learns. `step` plays one rollout and takes its gradient steps."""

    def __init__(self) -> None:
        self.net = Net()
        linear = [module.weight for module in self.net.modules() if isinstance(module, nn.Linear)]
        rest = [p for p in self.net.parameters() if all(p is not weight for weight in linear)]
        groups: list[dict[str, Any]] = [{"params": linear, "weight_decay": WEIGHT_DECAY}, {"params": rest}]
        self.torch_optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=BETAS, weight_decay=0.0)
        self.payoff = torch.tensor(PAYOFFS["post"])
        self.first = torch.randint(2, (STREAMS, 1))

    def step(self) -> None:
        """Play a rollout and take four gradient steps on it."""
        tokens, logprobs, values, q = self.play()
        self.first = tokens[:, -1:]
        rewards = self.payoff[tokens[:, 1:], tokens[:, :-1]]
        targets = advantages_and_returns(rewards, values, taken(q[:, :-1], tokens))
        for _ in range(STEPS):
            now, new_values, new_q, _ = self.net(tokens)
            loss = total_loss(
                taken(now[:, :-1], tokens), taken(logprobs[:, :-1], tokens), new_values[:, :-1], values[:, :-1],
                taken(new_q[:, :-1], tokens), *targets,
            )  # fmt: skip
            self.torch_optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
            self.torch_optimizer.step()

    @torch.no_grad()
    def play(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Play a rollout. Return a tuple (tokens [S, T], log-probabilities, v, q), with T = games + 1."""
        tokens, past, outputs = [self.first], None, []
        for number in range(GAMES + 1):  # the last pass computes v after the last game
            *heads, past = self.net(tokens[-1], past)
            outputs.append(heads)
            if number < GAMES:
                tokens.append(torch.multinomial(heads[0][:, -1].exp(), 1))
        logprobs, values, q = (torch.cat(parts, 1) for parts in zip(*outputs, strict=True))
        return torch.cat(tokens, 1), logprobs, values, q


def taken(table: Tensor, tokens: Tensor) -> Tensor:
    """Select each action's entry from a table [S, T - 1, 2]. Return [S, T - 1]. Tokens after the first are actions."""
    return table.gather(2, tokens[:, 1:, None]).squeeze(2)


def advantages_and_returns(rewards: Tensor, values: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """Return a tuple: (1) ACTDE's advantages, whose baseline is q, (2) PPO's returns.

    Rewards and q are [S, T - 1], and values are [S, T].
    """
    sums = []
    for baseline in (q, values[:, :-1]):
        errors = rewards + GAMMA * values[:, 1:] - baseline
        summed = errors.clone()
        for t in range(errors.shape[1] - 2, -1, -1):
            summed[:, t] += GAMMA * GAE_LAMBDA * summed[:, t + 1]
        sums.append(summed)
    return sums[0], values[:, :-1] + sums[1]


def total_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    values: Tensor,
    old_values: Tensor,
    q: Tensor,
    advantages: Tensor,
    returns: Tensor,
) -> Tensor:
    """Return PPO's clipped losses of policy and value plus the squared error of q. All arguments are [S, T - 1]."""
    ratio = (logprobs - old_logprobs).exp()
    policy = -torch.min(ratio * advantages, ratio.clamp(1 - CLIP, 1 + CLIP) * advantages)
    clipped = old_values + (values - old_values).clamp(-CLIP, CLIP)
    value = 0.5 * torch.max((values - returns) ** 2, (clipped - returns) ** 2)
    return (policy + VALUE_COEF * value + (q - returns) ** 2).mean()
