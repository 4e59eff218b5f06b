"""Train several models at once in the iterated prisoner's dilemma.

Shapes: N trials, T positions, S streams (sequences of actions).
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from itertools import product
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from actde import Batch, OptimizerConfig, Outputs, Targets, make_optimizer
from actde.config import BelowOne, Config, Fraction, NonNegative, Positive
from experiments.reproduce.ipd_trials.trunk import DECAYED, Model, Random, S, T
from games.ipd import PAYOFFS

EPOCHS = 4  # gradient steps on each whole rollout
BETAS, CLIP_NORM = (0.9, 0.95), 1.0
# Means over each rollout: the shares of games in which the two actions differ, are both cooperate, or are both defect;
# the reward per game; the policy's entropy in nats per action; the absolute advantage; and the squared errors of v and
# q relative to the return targets. If the optimizer does not train q, `q_error` equals `value_error`.
COLUMNS = ("alternate", "cooperate", "defect", "reward", "entropy", "advantage_abs", "value_error", "q_error")


class Recipe(Config):
    """Training settings. The defaults are those of the public code of Turner and Einhorn (2023)."""

    optimizer: str = "actde"
    payoff: Literal[tuple(PAYOFFS)] = "post"  # type: ignore[valid-type]  # the names of the matrices
    gamma: Fraction = 0.5
    gae_lambda: Fraction = 0.95
    whitening: Literal["none", "batch"] = "none"
    value_loss: Literal["ppo", "ilql"] = "ppo"
    detach_heads: bool = False  # whether the gradients of v and q stop at the output of the trunk
    lr: Positive = 5e-4
    q_lr: Positive | None = None  # of the Q head, `lr` by default
    weight_decay: NonNegative = 0.1  # of the weight matrices of linear layers
    dropout: BelowOne = 0.1


class Trials:
    """Independent trials that are trained together. Each trial has its own seed."""

    def __init__(self, recipe: Recipe, seeds: Sequence[np.random.SeedSequence], *, compiled: bool = False) -> None:
        self.recipe = recipe
        weight_seeds, play_seeds = zip(*(seed.spawn(2) for seed in seeds), strict=True)
        generators = [torch.Generator().manual_seed(int(seed.generate_state(1)[0])) for seed in weight_seeds]
        self.model = Model(generators, dropout=recipe.dropout, detach_heads=recipe.detach_heads, compiled=compiled)
        settings = recipe.model_dump(include={"gamma", "gae_lambda", "whitening", "value_loss"})
        self.optimizer = make_optimizer(recipe.optimizer, OptimizerConfig(**settings))
        self.torch_optimizer = torch.optim.AdamW(self._groups(), betas=BETAS, fused=True)
        self.random = Random(play_seeds)
        self.last = (self.random.uniform(S) < 0.5).long()
        self.payoff = torch.tensor(PAYOFFS[recipe.payoff])
        self.curves = torch.zeros(len(seeds), 0, len(COLUMNS), dtype=torch.float64)
        self.seconds = 0.0  # of processor time; the caller of `step` must update it

    def _groups(self) -> list[dict[str, Any]]:
        recipe, weights = self.recipe, self.model.weights
        return [
            {
                "params": [weights[n] for n in weights if (n in DECAYED, n in ("q", "q_bias")) == (decayed, q_head)],
                "lr": recipe.q_lr if q_head and recipe.q_lr is not None else recipe.lr,
                "weight_decay": recipe.weight_decay if decayed else 0.0,
            }
            for decayed, q_head in product((True, False), repeat=2)
        ]

    def step(self) -> Tensor:
        """Train on a new rollout. Return the rollout's measurements [trials, columns]."""
        tokens, (logprobs, values, q_values) = self.model.generate(self.last, self.random)
        self.last = tokens[:, -1]  # the next rollout starts after this action
        actions = tokens[:, 1:]
        # a model plays against its own previous action; 0 is cooperate, and 1 is defect
        rewards = _by_stream(self.payoff[actions, tokens[:, :-1]])
        batch = Batch(
            rewards=rewards,
            discounts=torch.full_like(rewards, self.recipe.gamma),
            mask=torch.ones_like(rewards, dtype=torch.bool),
            logprobs=_by_stream(_of_actions(logprobs, actions)),
            values=_by_stream(values[:, :-1]),
            next_values=_by_stream(values[:, 1:]),
            q_values=_by_stream(_of_actions(q_values, actions)) if self.optimizer.trains_q else None,
        )
        targets = self._targets(batch)
        for _ in range(EPOCHS):
            # `count` is the number of actions in one trial, so the loss is the sum of the trials' mean losses
            loss, _ = self.optimizer.loss(batch, targets, self._outputs(tokens), count=S * (T - 1))
            self.torch_optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._clip_gradients()
            self.torch_optimizer.step()
        q = batch.values if batch.q_values is None else batch.q_values
        errors = [(prediction - targets.returns).square() for prediction in (batch.values, q)]
        quantities = (rewards, _by_stream(_entropy(logprobs)), targets.advantages.abs(), *errors)
        means = [x.reshape(-1, S * (T - 1)).mean(dim=1) for x in quantities]
        self.curves = torch.cat([self.curves, torch.stack([*_shares(tokens), *means], 1).double()[:, None]], 1)
        return self.curves[:, -1]

    def state(self) -> dict[str, Tensor]:
        tensors = {f"weights.{name}": parameter.detach() for name, parameter in self.model.weights.items()}
        for index, moments in self.torch_optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
        seconds = torch.tensor(self.seconds, dtype=torch.float64)
        return tensors | {"random": self.random.state(), "last": self.last, "curves": self.curves, "seconds": seconds}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore the trials from a dict that `state` returned."""
        with torch.no_grad():
            for name, parameter in self.model.weights.items():
                parameter.copy_(state[f"weights.{name}"])
        moments: dict[int, dict[str, Tensor]] = {}
        for name in (name for name in state if name.startswith("optimizer.")):
            _, index, moment = name.split(".")
            moments.setdefault(int(index), {})[moment] = state[name]
        self.torch_optimizer.load_state_dict({**self.torch_optimizer.state_dict(), "state": moments})
        self.random.load_state(state["random"])
        self.last, self.curves, self.seconds = state["last"], state["curves"], float(state["seconds"])

    def _targets(self, batch: Batch) -> Targets:
        """Compute the optimizer's targets. Whitening is separate for each trial."""
        if self.recipe.whitening == "none":
            return self.optimizer.targets(batch)
        tensors = {spec.name: getattr(batch, spec.name) for spec in fields(batch)}
        by_trial = {name: x.split(S) for name, x in tensors.items() if x is not None}
        batches = [
            Batch(**dict(zip(by_trial, trial_tensors, strict=True)))
            for trial_tensors in zip(*by_trial.values(), strict=True)
        ]
        targets = [self.optimizer.targets(trial_batch) for trial_batch in batches]
        advantages = torch.cat([trial_targets.advantages for trial_targets in targets])
        returns = torch.cat([trial_targets.returns for trial_targets in targets])
        return Targets(advantages=advantages, returns=returns)

    def _outputs(self, tokens: Tensor) -> Outputs:
        logprobs, values, q_values = self.model(tokens, self.random)
        actions = tokens[:, 1:]
        return Outputs(
            logprobs=_by_stream(_of_actions(logprobs, actions)),
            entropy=_by_stream(_entropy(logprobs.detach())),
            values=_by_stream(values[:, :-1]),
            q_values=_by_stream(_of_actions(q_values, actions)).unsqueeze(-1) if self.optimizer.trains_q else None,
        )

    def _clip_gradients(self) -> None:
        """Clip the gradient norm of each trial separately."""
        gradients = [parameter.grad for parameter in self.model.weights.values() if parameter.grad is not None]
        norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)
        factors = (CLIP_NORM / (norms + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(factors.view(-1, *[1] * (gradient.ndim - 1)))


def _by_stream(x: Tensor) -> Tensor:  # [N, T - 1, S] -> [N S, T - 1], a row for each stream of each trial
    return x.transpose(1, 2).flatten(0, 1)


def _of_actions(table: Tensor, actions: Tensor) -> Tensor:  # [N, 2, T, S], [N, T - 1, S] -> [N, T - 1, S]
    return torch.where(actions == 1, table[:, 1, :-1], table[:, 0, :-1])


def _entropy(logprobs: Tensor) -> Tensor:  # [N, 2, T, S] -> [N, T - 1, S]
    return -(logprobs.exp() * logprobs).sum(dim=1)[:, :-1]


def _shares(tokens: Tensor) -> list[Tensor]:  # [N, T, S] -> alternating, cooperating and defecting games, each [N]
    past, present = tokens[:, :-1], tokens[:, 1:]
    equal = (past == present).double().mean(dim=(1, 2))
    defect = ((past == 1) & (present == 1)).double().mean(dim=(1, 2))
    return [1 - equal, equal - defect, defect]
