"""One trial of the post's experiment: a recipe, and the loop that plays, learns and counts.

The update rule and its losses are `actde`'s, whichever optimizer the recipe names; the payoffs are `games`'. Leaves
out files and processes (runs.py).
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actde import Batch, OptimizerConfig, Outputs, make_optimizer
from actde.config import BelowOne, Config, Fraction, NonNegative, Positive
from experiments.reproduce.ipd_kernel.kernel import T
from experiments.reproduce.ipd_kernel.random import Random
from experiments.reproduce.ipd_kernel.trunk import DECAYED, Model
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


class Trial:
    """A model that plays and learns; one call of `step` is one rollout and its gradient steps."""

    def __init__(self, recipe: Recipe, seed: np.random.SeedSequence) -> None:
        self.recipe = recipe
        weights, play = seed.spawn(2)
        start = torch.Generator().manual_seed(int(weights.generate_state(1)[0]))
        self.model = Model(start, dropout=recipe.dropout, detach_heads=recipe.detach_heads)
        self.optimizer = make_optimizer(recipe.optimizer, recipe.optimizer_config())
        self.stepper = torch.optim.AdamW(self._groups(), betas=BETAS, fused=True)
        self.random = Random(play)
        self.last = (self.random.uniform()[0] < 0.5).astype(np.int64)
        self.payoff = torch.tensor(PAYOFFS[recipe.payoff])
        self.curves: list[list[float]] = []
        self.seconds = 0.0
        """Processor time so far; kept by whoever runs the trial."""

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

    def step(self) -> list[float]:
        """Play 100 games in each stream, learn from them in four steps, and return the numbers of `COLUMNS`."""
        tokens, logprobs, values, q_values = self.model.generate(self.last, self.random)
        self.last = tokens[-1].copy()  # the next rollout goes on from here
        actions = torch.from_numpy(tokens[1:])
        rewards = self.payoff[actions, torch.from_numpy(tokens[:-1])]
        batch = Batch(
            rewards=rewards.T,
            discounts=torch.full_like(rewards.T, self.recipe.gamma),
            mask=torch.ones_like(rewards.T, dtype=torch.bool),
            logprobs=_taken(logprobs, actions),
            values=values[:-1].T,
            next_values=values[1:].T,
            q_values=_taken(q_values, actions) if self.optimizer.trains_q else None,
        )
        targets = self.optimizer.targets(batch)
        for _ in range(EPOCHS):
            loss, _ = self.optimizer.loss(batch, targets, self._outputs(tokens, actions))
            self.stepper.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.model.weights.values(), CLIP_NORM)
            self.stepper.step()
        row = [*_shares(tokens), float(rewards.mean()), float(_entropy(logprobs).mean())]
        row.append(float(targets.advantages.abs().mean()))
        row.append(float((batch.values - targets.returns).square().mean()))
        q = batch.values if batch.q_values is None else batch.q_values
        row.append(float((q - targets.returns).square().mean()))
        self.curves.append(row)
        return row

    def state(self) -> dict[str, Tensor]:
        """All that the trial needs to go on exactly as if it had never stopped."""
        found = {f"weights.{name}": parameter.detach() for name, parameter in self.model.weights.items()}
        for index, moments in self.stepper.state_dict()["state"].items():
            found |= {f"stepper.{index}.{name}": value for name, value in moments.items()}
        curves = torch.tensor(self.curves, dtype=torch.float64).reshape(-1, len(COLUMNS))
        words = torch.from_numpy(self.random.state.view(np.int64))
        return (
            found
            | {"random": words, "last": torch.from_numpy(self.last), "curves": curves}
            | {"seconds": torch.tensor(self.seconds, dtype=torch.float64)}
        )

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave.

        Raises:
            KeyError, RuntimeError, ValueError: it is not the state of such a trial.
        """
        with torch.no_grad():
            for name, parameter in self.model.weights.items():
                parameter.copy_(state[f"weights.{name}"])
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in state.items():
            if name.startswith("stepper."):
                _, index, what = name.split(".")
                moments.setdefault(int(index), {})[what] = value
        self.stepper.load_state_dict({**self.stepper.state_dict(), "state": moments})
        self.random.state[:] = state["random"].numpy().view(np.uint64)
        self.last = state["last"].numpy()
        self.curves = state["curves"].tolist()
        self.seconds = float(state["seconds"])

    def _outputs(self, tokens: NDArray[Any], actions: Tensor) -> Outputs:
        logprobs, values, q_values = self.model(tokens, self.random)
        return Outputs(
            logprobs=_taken(logprobs, actions),
            entropy=_entropy(logprobs.detach()).T,
            values=values[:-1].T,
            q_values=_taken(q_values, actions).unsqueeze(-1) if self.optimizer.trains_q else None,
        )


def _taken(table: Tensor, actions: Tensor) -> Tensor:
    """[S, T - 1] of the action taken, from [2, T, S], whose last position took none, and actions [T - 1, S]."""
    return torch.where(actions == 1, table[1, :-1], table[0, :-1]).T


def _entropy(logprobs: Tensor) -> Tensor:
    """[T - 1, S] nats, from [2, T, S], without the last position."""
    return -(logprobs.exp() * logprobs).sum(dim=0)[:-1]


def _shares(tokens: NDArray[Any]) -> list[float]:
    """Shares of the games, pairs of neighbours in tokens [T, S], that alternate, cooperate and defect."""
    before, now = tokens[:-1], tokens[1:]
    both = (before == now).mean()
    defect = ((before == 1) & (now == 1)).mean()
    return [float(1 - both), float(both - defect), float(defect)]


assert T == 101  # the post's rollout of 100 games
