"""RL algorithms such as PPO, ACTDE and GRPO. An `Optimizer` computes the loss of one algorithm."""

from actde import import_path as import_path  # before all other imports

# isort: split
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actde.actde import ACTDE
    from actde.batch import Batch, Outputs, Targets
    from actde.config import OptimizerConfig
    from actde.errors import OptimizerError
    from actde.grpo import GRPO
    from actde.imitation import Imitation, Rejection
    from actde.optimizer import Optimizer
    from actde.ppo import PPO
    from actde.registry import make_optimizer, optimizer_class, optimizer_names, register

_MODULE_OF = {  # imported on first use, so that settings are available without torch
    "ACTDE": "actde.actde",
    "Batch": "actde.batch",
    "GRPO": "actde.grpo",
    "Imitation": "actde.imitation",
    "Optimizer": "actde.optimizer",
    "OptimizerError": "actde.errors",
    "Outputs": "actde.batch",
    "PPO": "actde.ppo",
    "Rejection": "actde.imitation",
    "OptimizerConfig": "actde.config",
    "Targets": "actde.batch",
    "make_optimizer": "actde.registry",
    "optimizer_class": "actde.registry",
    "optimizer_names": "actde.registry",
    "register": "actde.registry",
}

__all__ = [
    "ACTDE",
    "GRPO",
    "PPO",
    "Batch",
    "Imitation",
    "Optimizer",
    "OptimizerConfig",
    "OptimizerError",
    "Outputs",
    "Rejection",
    "Targets",
    "make_optimizer",
    "optimizer_class",
    "optimizer_names",
    "register",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'actde' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
