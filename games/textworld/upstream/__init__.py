"""Patches for TextWorld 1.7.0 and Jericho 3.3.1. Only this folder uses private names of these packages."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from games.errors import GameError

VARIABLE = "ACTDE_ENGINE"
ENGINES = ("cached", "stock")


def engine_choice(engine: str | None = None) -> str:
    """Return `engine`, or the value of ACTDE_ENGINE if `engine` is None. Raise GameError if the engine is unknown."""
    prefix = f"{VARIABLE}=" if engine is None else "engine="
    engine = (os.environ.get(VARIABLE) or ENGINES[0]) if engine is None else engine
    if engine not in ENGINES:
        raise GameError(f"{prefix}{engine}: expected one of {', '.join(ENGINES)}")
    return engine


def patches_enabled() -> bool:
    """Return whether to apply the patches that only save time."""
    return engine_choice() != "stock"


@contextmanager
def patched(owner: Any, **replacements: Any) -> Iterator[None]:
    """Inside the `with` block, replace attributes of a class or module."""
    originals = {name: vars(owner)[name] for name in replacements}
    try:
        for name, replacement in replacements.items():
            setattr(owner, name, replacement)
        yield
    finally:
        for name, original in originals.items():
            setattr(owner, name, original)
