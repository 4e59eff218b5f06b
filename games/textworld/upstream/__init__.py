"""All code that patches, bypasses or replaces parts of TextWorld 1.7.0 and Jericho 3.3.1.

Only this folder uses private names of these packages. No replacement changes a result. If ACTDE_ENGINE is `stock`, most
of the patches that only save time are turned off.

* A record is the `.json` file in which TextWorld describes a game.
* A trace is a line in which the interpreter reports an action.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from games.errors import GameError

VARIABLE = "ACTDE_ENGINE"
ENGINES = ("cached", "stock")


def engine_choice(engine: str | None = None) -> str:
    """Return `engine` or, if it is None, the value of ACTDE_ENGINE, by default `cached`.

    Raise GameError if the name is unknown.
    """
    prefix = f"{VARIABLE}=" if engine is None else "engine="
    engine = (os.environ.get(VARIABLE) or ENGINES[0]) if engine is None else engine
    if engine not in ENGINES:
        raise GameError(f"{prefix}{engine}: expected one of {', '.join(ENGINES)}")
    return engine


def patches_enabled() -> bool:
    """Return whether ACTDE_ENGINE allows the optional patches of this folder."""
    return engine_choice() != "stock"


@contextmanager
def patched(owner: Any, **replacements: Any) -> Iterator[None]:
    """Replace attributes of a class or a module inside the `with` block."""
    originals = {name: vars(owner)[name] for name in replacements}
    try:
        for name, replacement in replacements.items():
            setattr(owner, name, replacement)
        yield
    finally:
        for name, original in originals.items():
            setattr(owner, name, original)
