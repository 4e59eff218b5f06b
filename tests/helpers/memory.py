"""A memory model of a run of PPO with a given model."""

from typing import Any

from actde import make_optimizer
from agents.config import TrainConfig
from agents.model.actor_critic import ActorCritic
from agents.training.memory_prediction import MemoryModel


def memory_of(model: ActorCritic, *, copied: bool = False, ranks: int = 1, **flat: Any) -> MemoryModel:
    """Return the memory model of a run with the settings `flat`."""
    config = TrainConfig.from_flat({"optimizer": "ppo", **flat})
    optimizer = make_optimizer("ppo", config.optimizer)
    return MemoryModel(model=model, config=config, optimizer=optimizer, has_reference=copied, ranks=ranks)
