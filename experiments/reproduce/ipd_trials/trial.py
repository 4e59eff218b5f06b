"""Trials of the post's experiment: a recipe, and the loop that plays, learns and records.

The update rule and its losses are `actde`'s, whichever optimizer the recipe names; the payoffs are `games`'.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from actde import Batch, OptimizerConfig, Outputs, Targets, make_optimizer
from actde.config import BelowOne, Config, Fraction, NonNegative, Positive
from experiments.reproduce.ipd_trials.random import Random
from experiments.reproduce.ipd_trials.trunk import DECAYED, Model, S, T
from games.ipd import PAYOFFS

EPOCHS = 4
"""Gradient steps per rollout, each over all of it; the post's "epochs" are gradient steps."""
BETAS, CLIP_NORM = (0.9, 0.95), 1.0
COLUMNS = ("alternate", "cooperate", "defect", "reward", "entropy", "advantage_abs", "value_error", "q_error")
"""What is written down of every rollout: shares of games that are cd or dc, cc, dd; reward per game; entropy
of the policy, nats; mean |advantage|; mean (v - G)^2 and (q - G)^2."""


class Recipe(Config):
    """What may differ between trials; the defaults are the post's ACTDE (public code of its figures)."""

    optimizer: str = "actde"
    """Update rule."""
    payoff: Literal[tuple(PAYOFFS)] = "post"  # type: ignore[valid-type]  # the names of the matrices
    """Payoff matrix."""
    gamma: Fraction = 0.5
    """Discount."""
    gae_lambda: Fraction = 0.95
    """Lambda of GAE."""
    whitening: Literal["none", "batch"] = "none"
    """Advantage normalization."""
    value_loss: Literal["ppo", "ilql"] = "ppo"
    """Loss of v."""
    detach_heads: bool = False
    """Stop the gradient of v and q at the trunk."""
    lr: Positive = 5e-4
    """Learning rate of AdamW."""
    q_lr: Positive | None = None
    """Learning rate of the Q head; None: `lr`."""
    weight_decay: NonNegative = 0.1
    """Weight decay of AdamW, on matrices only."""
    dropout: BelowOne = 0.1
    """Dropout in the rollout and in the update."""

    def optimizer_config(self) -> OptimizerConfig:
        """The optimizer's configuration. Defaults: clip ranges 0.2, value 0.1, Q 1, no entropy bonus."""
        shared = ("gamma", "gae_lambda", "whitening", "value_loss")
        return OptimizerConfig(**{name: getattr(self, name) for name in shared})


class Trials:
    """Models that play and learn side by side, each apart from the others; `step` is one rollout and its updates.

    Args:
        seeds: one per trial.
        compiled: compile the trunk (blocks.py).
    """

    def __init__(self, recipe: Recipe, seeds: Sequence[np.random.SeedSequence], *, compiled: bool = False) -> None:
        self.recipe = recipe
        weights, play = zip(*(seed.spawn(2) for seed in seeds), strict=True)
        starts = [torch.Generator().manual_seed(int(seed.generate_state(1)[0])) for seed in weights]
        self.model = Model(starts, dropout=recipe.dropout, detach_heads=recipe.detach_heads, compiled=compiled)
        self.optimizer = make_optimizer(recipe.optimizer, recipe.optimizer_config())
        self.torch_optimizer = torch.optim.AdamW(self._groups(), betas=BETAS, fused=True)
        self.random = Random(play)
        self.last = (self.random.uniform(S) < 0.5).long()
        self.payoff = torch.tensor(PAYOFFS[recipe.payoff])
        self.curves = torch.zeros(len(seeds), 0, len(COLUMNS), dtype=torch.float64)
        """[trials, rollouts, columns of `COLUMNS`]"""
        self.seconds = 0.0
        """Processor time so far; kept by whoever runs the trials."""

    def _groups(self) -> list[dict[str, Any]]:
        recipe, groups = self.recipe, []
        for decayed in (True, False):
            for q_head in (True, False):
                own = [
                    parameter
                    for name, parameter in self.model.weights.items()
                    if (name in DECAYED) is decayed and (name in ("q", "q_bias")) is q_head
                ]
                rate = recipe.q_lr if q_head and recipe.q_lr is not None else recipe.lr
                groups.append({"params": own, "lr": rate, "weight_decay": recipe.weight_decay if decayed else 0.0})
        return groups

    def step(self) -> Tensor:
        """Play 100 games in each stream and take four gradient steps; returns [trials, columns of `COLUMNS`]."""
        tokens, (logprobs, values, q_values) = self.model.generate(self.last, self.random)
        self.last = tokens[:, -1]  # the next rollout goes on from here
        actions = tokens[:, 1:]
        rewards = _rows(self.payoff[actions, tokens[:, :-1]])
        batch = Batch(
            rewards=rewards,
            discounts=torch.full_like(rewards, self.recipe.gamma),
            mask=torch.ones_like(rewards, dtype=torch.bool),
            logprobs=_rows(_taken(logprobs, actions)),
            values=_rows(values[:, :-1]),
            next_values=_rows(values[:, 1:]),
            q_values=_rows(_taken(q_values, actions)) if self.optimizer.trains_q else None,
        )
        targets = self._targets(batch)
        for _ in range(EPOCHS):
            # divided by one trial's choices, the loss is the sum of the trials' own mean losses
            loss, _ = self.optimizer.loss(batch, targets, self._outputs(tokens), count=S * (T - 1))
            self.torch_optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._clip_gradients()
            self.torch_optimizer.step()
        q = batch.values if batch.q_values is None else batch.q_values
        row = [*_shares(tokens), _mean(rewards), _mean(_rows(_entropy(logprobs))), _mean(targets.advantages.abs())]
        row += [_mean((found - targets.returns).square()) for found in (batch.values, q)]
        self.curves = torch.cat([self.curves, torch.stack(row, 1).double()[:, None]], 1)
        return self.curves[:, -1]

    def state(self) -> dict[str, Tensor]:
        """All that the trials need to go on exactly as if they had never stopped."""
        found = {f"weights.{name}": parameter.detach() for name, parameter in self.model.weights.items()}
        for index, moments in self.torch_optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
        seconds = torch.tensor(self.seconds, dtype=torch.float64)
        return found | {"random": self.random.state(), "last": self.last, "curves": self.curves, "seconds": seconds}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave.

        Raises:
            KeyError, RuntimeError, ValueError: it is not the state of such trials.
        """
        with torch.no_grad():
            for name, parameter in self.model.weights.items():
                parameter.copy_(state[f"weights.{name}"])
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in state.items():
            if name.startswith("optimizer."):
                _, index, what = name.split(".")
                moments.setdefault(int(index), {})[what] = value
        self.torch_optimizer.load_state_dict({**self.torch_optimizer.state_dict(), "state": moments})
        self.random.load_state(state["random"])
        self.last, self.curves, self.seconds = state["last"], state["curves"], float(state["seconds"])

    def _targets(self, batch: Batch) -> Targets:
        """The optimizer's targets; trial by trial if they are whitened, which takes a mean over a trial."""
        if self.recipe.whitening == "none":
            return self.optimizer.targets(batch)
        found = [self.optimizer.targets(part) for part in _split(batch)]
        return Targets(
            advantages=torch.cat([one.advantages for one in found]), returns=torch.cat([one.returns for one in found])
        )

    def _outputs(self, tokens: Tensor) -> Outputs:
        logprobs, values, q_values = self.model(tokens, self.random)
        actions = tokens[:, 1:]
        return Outputs(
            logprobs=_rows(_taken(logprobs, actions)),
            entropy=_rows(_entropy(logprobs.detach())),
            values=_rows(values[:, :-1]),
            q_values=_rows(_taken(q_values, actions)).unsqueeze(-1) if self.optimizer.trains_q else None,
        )

    def _clip_gradients(self) -> None:
        """Scale the gradient of every trial to a norm of at most `CLIP_NORM`, as `clip_grad_norm_` does."""
        gradients = [parameter.grad for parameter in self.model.weights.values() if parameter.grad is not None]
        norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)
        factors = (CLIP_NORM / (norms + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(factors.view(-1, *[1] * (gradient.ndim - 1)))


def _rows(x: Tensor) -> Tensor:
    """[N, T - 1, S] to [N S, T - 1], a row for each stream of each trial."""
    return x.transpose(1, 2).flatten(0, 1)


def _split(batch: Batch) -> list[Batch]:
    """The batch of each trial."""
    parts = {spec.name: getattr(batch, spec.name) for spec in fields(batch)}
    split = {name: x.split(S) for name, x in parts.items() if x is not None}
    return [Batch(**{name: x[trial] for name, x in split.items()}) for trial in range(len(split["mask"]))]


def _mean(x: Tensor) -> Tensor:
    """[N] from [N S, T - 1]."""
    return x.reshape(-1, S * (T - 1)).mean(dim=1)


def _taken(table: Tensor, actions: Tensor) -> Tensor:
    """[N, T - 1, S] of the action taken, from [N, 2, T, S], whose last position took none."""
    return torch.where(actions == 1, table[:, 1, :-1], table[:, 0, :-1])


def _entropy(logprobs: Tensor) -> Tensor:
    """[N, T - 1, S] nats, from [N, 2, T, S], without the last position."""
    return -(logprobs.exp() * logprobs).sum(dim=1)[:, :-1]


def _shares(tokens: Tensor) -> list[Tensor]:
    """[N] each: shares of the games, pairs of neighbours in tokens [N, T, S], that alternate, cooperate, defect."""
    before, now = tokens[:, :-1], tokens[:, 1:]
    both = (before == now).double().mean(dim=(1, 2))
    defect = ((before == 1) & (now == 1)).double().mean(dim=(1, 2))
    return [1 - both, both - defect, defect]
