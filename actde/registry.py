"""Optimizers by name: ours, those registered in this process, and those of installed packages.

A package adds one with an entry point, and without touching this project:

    [project.entry-points."actde.optimizers"]
    mine = "my_package:Mine"

Only the class that is asked for is imported, so listing the names costs no torch.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, TypeVar

from actde.config import OptimizerConfig
from actde.errors import OptimizerError, unknown

if TYPE_CHECKING:
    from actde.optimizer import Optimizer

    Class = TypeVar("Class", bound=type[Optimizer])

GROUP = "actde.optimizers"
_OURS = (
    EntryPoint(name="ppo", value="actde.ppo:PPO", group=GROUP),
    EntryPoint(name="actde", value="actde.actde:ACTDE", group=GROUP),
    EntryPoint(name="imitation", value="actde.imitation:Imitation", group=GROUP),
    EntryPoint(name="rejection", value="actde.imitation:Rejection", group=GROUP),
)
_registered: dict[str, type[Optimizer]] = {}


def register(cls: Class) -> Class:
    """Makes an optimizer class known under its `name`; usable as a decorator. A name is given once."""
    name = str(getattr(cls, "name", None))
    _checked(name, cls)
    homes = {entry.value for entry in _entries().values() if entry.name == name}
    homes |= {_home(other) for other in _registered.values() if other.name == name}
    if homes - {_home(cls)}:
        raise OptimizerError(f"an optimizer {name!r} exists already; choose another name")
    _registered[name] = cls
    return cls


def optimizer_names() -> list[str]:
    """All names that `make_optimizer` takes, sorted."""
    return sorted({*_registered, *_entries()})


def optimizer_class(name: str) -> type[Optimizer]:
    """The class of this name; `OptimizerError` with the nearest name where there is none."""
    if name in _registered:
        return _registered[name]
    entry = _entries().get(name)
    if entry is None:
        raise unknown("optimizer", name, optimizer_names())
    return _checked(name, entry.load())


def make_optimizer(name: str, config: OptimizerConfig | None = None) -> Optimizer:
    """A new optimizer of this name, with default settings where none are given."""
    return optimizer_class(name)(config if config is not None else OptimizerConfig())


def _entries() -> dict[str, EntryPoint]:
    """Entry points by name; ours come last and win, so that no package changes what PPO means."""
    return {entry.name: entry for entry in (*entry_points(group=GROUP), *_OURS)}


def _home(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _checked(name: str, cls: object) -> type[Optimizer]:
    from actde.optimizer import Optimizer

    if not (isinstance(cls, type) and issubclass(cls, Optimizer)):
        raise OptimizerError(f"optimizer {name!r} must be a subclass of actde.Optimizer, got {cls!r}")
    own = getattr(cls, "name", None)
    if own != name:
        raise OptimizerError(f"optimizer {name!r} calls itself {own!r}; the names must agree")
    return cls
