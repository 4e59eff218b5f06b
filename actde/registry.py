"""Registry of optimizers. An installed package can provide an optimizer as an entry point:

[project.entry-points."actde.optimizers"]
mine = "my_package:Mine"
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
_BUILT_IN = (  # a class is imported on request, so listing the names does not import torch
    EntryPoint(name="ppo", value="actde.ppo:PPO", group=GROUP),
    EntryPoint(name="actde", value="actde.actde:ACTDE", group=GROUP),
    EntryPoint(name="actde-corrected", value="actde.actde_corrected:CorrectedACTDE", group=GROUP),
    EntryPoint(name="mpo", value="actde.mpo:MPO", group=GROUP),
    EntryPoint(name="grpo", value="actde.grpo:GRPO", group=GROUP),
    EntryPoint(name="qae", value="actde.qae:QAE", group=GROUP),
    EntryPoint(name="ilql", value="actde.ilql:ILQL", group=GROUP),
    EntryPoint(name="imitation", value="actde.imitation:Imitation", group=GROUP),
    EntryPoint(name="decision", value="actde.decision:Decision", group=GROUP),
    EntryPoint(name="rejection", value="actde.imitation:Rejection", group=GROUP),
    EntryPoint(name="rejection-transition", value="actde.transition_rejection:TransitionRejection", group=GROUP),
)
_registered: dict[str, type[Optimizer]] = {}


def register(cls: Class) -> Class:
    """Class decorator that registers an optimizer under its attribute `name`.

    Raises:
        OptimizerError: the name is taken, or `cls` is no subclass of `Optimizer`.
    """
    name = str(getattr(cls, "name", None) or getattr(cls, "__name__", cls))
    _check_class(name, cls)
    paths = {entry.value for entry in _entries().values() if entry.name == name}
    paths |= {_class_path(registered) for registered in _registered.values() if registered.name == name}
    if paths - {_class_path(cls)}:
        remedy = "choose another name" if "name" in vars(cls) else f"set `name` in class {cls.__name__}"
        raise OptimizerError(f"an optimizer {name!r} already exists; {remedy}")
    _registered[name] = cls
    return cls


def optimizer_names() -> list[str]:
    """Return the sorted names that `make_optimizer` accepts."""
    return sorted({*_registered, *_entries()})


def optimizer_class(name: str) -> type[Optimizer]:
    """Return the class of the optimizer `name`.

    Raises:
        OptimizerError: no optimizer `name` is registered.
    """
    if name in _registered:
        return _registered[name]
    if name not in (entries := _entries()):
        raise unknown("optimizer", name, optimizer_names())
    return _check_class(name, entries[name].load())


def module_of(name: str) -> str | None:
    """Return the module of an optimizer, or None if no installed package provides the optimizer."""
    entry = None if name in _registered else _entries().get(name)
    return None if entry is None or entry in _BUILT_IN else entry.module


def make_optimizer(name: str, config: OptimizerConfig | None = None) -> Optimizer:
    """Create the optimizer with this name. If `config` is None, the settings have their default values."""
    return optimizer_class(name)(config or OptimizerConfig())


def _entries() -> dict[str, EntryPoint]:
    # built-in entry points come last, so that no package replaces them
    return {entry.name: entry for entry in (*entry_points(group=GROUP), *_BUILT_IN)}


def _class_path(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _check_class(name: str, cls: object) -> type[Optimizer]:
    from actde.optimizer import Optimizer

    if not (isinstance(cls, type) and issubclass(cls, Optimizer)):
        got = getattr(cls, "__qualname__", repr(cls))
        raise OptimizerError(f"optimizer {name!r} must be a subclass of actde.Optimizer, got {got}")
    if cls.__abstractmethods__:
        raise OptimizerError(f"class {cls.__name__} must define {', '.join(sorted(cls.__abstractmethods__))}")
    if (name_attribute := getattr(cls, "name", None)) is None:
        raise OptimizerError(f"set `name` in class {cls.__name__}")
    if name_attribute != name:
        raise OptimizerError(f"optimizer {name!r} has name={name_attribute!r}; the two names must agree")
    return cls
