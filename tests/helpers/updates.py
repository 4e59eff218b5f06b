"""Rollouts and single updates of tiny agents, and a torch optimizer that records gradients and takes no steps."""

from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from actde import OptimizerConfig, make_optimizer
from agents.config import UpdateConfig
from agents.model.actor_critic import ActorCritic
from agents.play.runner import EpisodeRunner
from agents.training.rollout_batch import RolloutBatch
from agents.training.updater import Updater, make_torch_optimizer, parameter_groups
from tests.helpers.models import agent, assert_close
from tests.helpers.scripts import Scene, ScriptSpec

OPTIONS = {"go north": 1.0, "go south": 0.0, "take red key": 2.0, "take blue key": -1.0, "take lamp": 0.5}
SPEC = ScriptSpec(
    [[Scene(f"room {n}", OPTIONS) for n in range(length)] for length in (1, 2, 4)], over=False, end="you see a lamp"
)


class Kept(torch.optim.SGD):
    """Records the gradients of every step and changes no parameter."""

    def __init__(self, model: ActorCritic) -> None:
        super().__init__(parameter_groups(model, UpdateConfig()), lr=0.0)
        self.model, self.steps = model, list[dict[str, Tensor]]()

    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # torch has overloads
        self.steps.append({n: p.grad.clone() for n, p in self.model.named_parameters() if p.grad is not None})


def rollout_of(
    model: ActorCritic, episodes: int = 5, *, credit: Any = "token", spec: Any = SPEC, **settings: Any
) -> RolloutBatch:
    player = agent(model, **settings)
    with EpisodeRunner([spec], seed=3, parallel=3) as runner:
        list(runner.play(player, episodes))
    return RolloutBatch(player.take_segments(), credit=credit)


def updater(
    model: ActorCritic,
    name: str = "actde",
    *,
    torch_optimizer: torch.optim.Optimizer | None = None,
    reference: ActorCritic | None = None,
    learning: OptimizerConfig | None = None,
    **settings: Any,
) -> Updater:
    given: dict[str, Any] = {"epochs": 1, "max_grad_norm": 1e9} | settings
    config = UpdateConfig(**given)
    optimizer = make_optimizer(name, learning or OptimizerConfig(gamma=0.5, value_coef=0.5, entropy_coef=0.1))
    torch_optimizer = torch_optimizer or make_torch_optimizer(model, config)
    return Updater(model, torch_optimizer, optimizer, config, Accelerator(), reference)


def learn(update: Updater, rollout: RolloutBatch, seed: int = 0) -> dict[str, float]:
    return update.learn(rollout, np.random.default_rng(seed))[0]


def gradients(
    model: ActorCritic, rollout: RolloutBatch, name: str = "actde", **settings: Any
) -> list[dict[str, Tensor]]:
    kept = Kept(model)
    learn(updater(model, name, torch_optimizer=kept, **settings), rollout)
    return kept.steps


def assert_same_gradients(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        assert_close(found[name], gradient, within=1e-5 * (1 + float(gradient.abs().max())))
