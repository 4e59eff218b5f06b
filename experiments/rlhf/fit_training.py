"""Train value and Q heads on rollouts of a fixed policy, and compute explained variances."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from actde import OptimizerConfig
from agents.model.actor_critic import ActorCritic
from agents.model.heads import Heads
from agents.model.lower_layers import FrozenStates, layer_list, upper_layers_only
from experiments.rlhf.fit_rollouts import LAST, Rollout


@dataclass(frozen=True, slots=True)
class Targets:
    """Targets of v and q for M tokens."""

    choices: Tensor  # [M] index in the rollout of the state before each token
    tokens: Tensor  # [M] token ids
    v: Tensor
    q: Tensor


class OwnLayers(nn.Module):
    """A trainable copy of a model's last `count` layers and final norm."""

    def __init__(self, model: ActorCritic, count: int) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.model.forget_conversions()
        layers, children = layer_list(self.model), list(self.model.decoder.children())
        assert layers is not None and 0 < count < len(layers)
        later_modules = children[children.index(layers) + 1 :]
        self.trained = nn.ModuleList([*layers[-count:], *later_modules]).float().requires_grad_(True)

    def forward(self, tokens: Tensor, lower: FrozenStates) -> Tensor:
        """Return the final hidden states [b, L, d] of tokens [b, L]."""
        with upper_layers_only(self.model, lower):
            return self.model.hidden_states(tokens, use_cache=False)


class HeadTrainer:
    """A value head, Q heads and an optimizer. `embedding` [V, d] is the output embedding of V tokens."""

    def __init__(self, embedding: Tensor, setting: Mapping[str, Any], model: ActorCritic | None) -> None:
        self.embedding, self.setting, own_count = embedding, setting, setting["own_layers"]
        options = {name: setting[name] for name in ("q_heads", "layers", "target_q", "dueling")}
        self.heads = Heads(embedding.shape[1], len(embedding), tied=True, detach_q=not own_count, **options)
        groups = [
            {"params": list(self.heads.value.parameters()), "lr": setting["value_lr"]},
            {"params": list(self.heads.q.parameters()), "lr": setting["q_lr"]},
        ]
        self.own_layers: OwnLayers | None = None
        if own_count:
            assert model is not None
            self.own_layers = OwnLayers(model, own_count)
            groups.append({"params": list(self.own_layers.trained.parameters()), "lr": setting["layers_lr"]})
        self.parameters: list[nn.Parameter] = [parameter for group in groups for parameter in group["params"]]
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=setting["weight_decay"])
        self.config = OptimizerConfig(gamma=1.0, gae_lambda=setting["gae_lambda"], value_clip_range=None)

    def states(self, rollout: Rollout, indices: Tensor) -> Tensor:
        """Return the hidden states [M, d] from which the M tokens at `indices` were sampled."""
        if self.own_layers is None:
            return rollout.hidden[indices]
        assert rollout.texts is not None and rollout.lower is not None
        texts, rows = torch.unique(rollout.rows[indices], return_inverse=True)
        lower = FrozenStates(rollout.lower.layers, rollout.lower.states[texts])
        hidden: Tensor = self.own_layers(rollout.texts.streams[texts], lower)
        return hidden[rows, rollout.texts.positions[indices]].float()

    @torch.no_grad()
    def predict(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """Return v [N] and q [N] of the N sampled tokens of a rollout."""
        hidden = self.states(rollout, torch.arange(len(rollout.tokens)))
        q = self._q_of(hidden, rollout.tokens, target=self.setting["target_q"]).amin(-1)
        return self.heads.values(hidden), q

    def targets(self, rollout: Rollout, values: Tensor | None = None) -> Targets:
        """Return targets for `rollout`. `values` [N] holds v of N tokens, by default from `predict`."""
        if samples := self.setting["returns_per_token"]:
            return sampled_targets(rollout, samples)
        values = self.predict(rollout)[0] if values is None else values
        returns = rollout.returns(values, self.setting["gae_lambda"])
        return Targets(torch.arange(len(returns)), rollout.tokens, returns, returns)

    def step(self, rollout: Rollout, targets: Targets) -> None:
        """Take two gradient steps, each on half of the texts."""
        rows = rollout.rows[targets.choices]
        for half in (rows % 2 == 0, rows % 2 == 1):
            hidden = self.states(rollout, targets.choices[half])
            q = self._q_of(hidden, targets.tokens[half])
            value_loss = 0.5 * (self.heads.values(hidden) - targets.v[half]).square().mean()
            q_loss = (q - targets.q[half][:, None]).square().sum(-1).mean()
            self.optimizer.zero_grad()
            loss = self.config.value_coef * value_loss + self.config.q_coef * q_loss
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimizer.step()
            self.heads.sync_targets(0.005)

    def _q_of(self, hidden: Tensor, tokens: Tensor, *, target: bool = False) -> Tensor:
        """Return q [M, H] of M tokens, from H Q heads."""
        distinct, index = torch.unique(tokens, return_inverse=True)
        q = self.heads.q_values(hidden, distinct, self.embedding[distinct], target=target)
        return q.take_along_dim(index[:, None, None], 1)[:, 0]


def sampled_targets(rollout: Rollout, samples: int) -> Targets:
    """Return targets from the first `samples` sampled returns of each token."""
    sampled = rollout.sampled
    assert sampled is not None and samples <= sampled.returns.shape[2]
    q = sampled.returns[:, :, :samples].mean(2).float()
    v = q.mean(1, keepdim=True).expand_as(q)
    choices = sampled.choices[:, None].expand_as(sampled.tokens)
    return Targets(choices.flatten(), sampled.tokens.flatten(), v.flatten(), q.flatten())


def fit(
    rollouts: Sequence[Rollout], embedding: Tensor, seed: int, *, model: ActorCritic | None = None, **setting: Any
) -> dict[str, float]:
    """Train new heads on one rollout after another. Return mean explained variances over the last `LAST` rollouts."""
    torch.manual_seed(seed)
    trainer, scores = HeadTrainer(embedding, setting, model), list[tuple[float, float, float]]()
    for index, rollout in enumerate(rollouts):
        v, q = trainer.predict(rollout)  # before the rollout is learned
        scores.append(_explained_variances(rollout, v, q))
        replayed = rollouts[max(0, index + 1 - setting["replay"]) : index]
        batches = [
            (rollout, trainer.targets(rollout, v)),
            *((earlier, trainer.targets(earlier)) for earlier in replayed),
        ]
        for _ in range(setting["epochs"]):
            for batch in batches:
                trainer.step(*batch)
    columns = zip(("v", "q", "advantage"), zip(*scores[-LAST:], strict=True), strict=True)
    return {name: float(np.mean(column)) for name, column in columns}


def _explained_variances(rollout: Rollout, v: Tensor, q: Tensor) -> tuple[float, float, float]:
    """Return the explained variances of returns by v, of returns by q, and of (returns - v) by (q - v)."""
    returns = rollout.returns(torch.zeros_like(v), 1.0)
    total, by_v, by_q = (float((returns - prediction).var()) for prediction in (torch.zeros_like(v), v, q))
    return 1 - by_v / total, 1 - by_q / total, 1 - by_q / by_v


def ridge(rollouts: Sequence[Rollout], embedding: Tensor, penalty: float) -> dict[str, float]:
    """Regress returns on states (ridge regression), without and with token embeddings. Return explained variances."""
    features_by_name = {
        "state": [rollout.hidden for rollout in rollouts],
        "state and token": [torch.cat([rollout.hidden, embedding[rollout.tokens]], 1) for rollout in rollouts],
    }
    returns = [rollout.returns(torch.zeros(len(rollout.tokens)), 1.0) for rollout in rollouts]
    result = {}
    for name, features in features_by_name.items():
        # train on the earlier rollouts, and evaluate on the last ones
        x, test = (torch.cat(tensors).double() for tensors in (features[:-LAST], features[-LAST:]))
        y, truth = (torch.cat(tensors).double() for tensors in (returns[:-LAST], returns[-LAST:]))
        mean, std, level = x.mean(0), x.std(0) + 1e-6, y.mean()
        x = (x - mean) / std
        solution = torch.linalg.solve(x.T @ x + penalty * torch.eye(x.shape[1], dtype=x.dtype), x.T @ (y - level))
        predicted = (test - mean) / std @ solution + level
        result[name] = float(1 - (truth - predicted).var() / truth.var())
    return result
