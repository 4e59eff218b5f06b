"""How to learn from a batch: PPO, ACTDE, imitation, and what they share. Knows no game, no tokenizer and no network.

The names below are the public face. They are imported when first used, so that settings and names of
optimizers can be had without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actde.actde import ACTDE
    from actde.batch import Batch, Outputs, Targets
    from actde.config import OptimizerConfig
    from actde.errors import OptimizerError
    from actde.imitation import Imitation, Rejection
    from actde.optimizer import Optimizer
    from actde.ppo import PPO
    from actde.registry import make_optimizer, optimizer_class, optimizer_names, register

_HOME = {
    "ACTDE": "actde.actde",
    "Batch": "actde.batch",
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
    if name not in _HOME:
        raise AttributeError(f"module 'actde' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
