"""Seeds that are reserved for evaluation. Training must not use these seeds."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from games.errors import GameError

if TYPE_CHECKING:
    from games.game_spec import GameSpec

RESERVED = range(2_000_000_000, 2_000_100_000)


def reject_reserved_seeds(specs: Iterable["GameSpec"]) -> None:
    """Raise GameError if any game has a reserved seed."""
    for spec in specs:
        if dict(spec.settings).get("seed") in RESERVED:
            raise _error(spec.name)


def reject_reserved_name(name: str) -> None:
    """Raise GameError if the seed in a name such as `textworld:coin?level=1&seed=5` is reserved."""
    match = re.search(r"[?&]seed=([0-9]{1,20})(?![0-9])", name)
    if match and int(match[1]) in RESERVED:
        raise _error(name)


def _error(name: str) -> GameError:
    return GameError(
        f"{name} is held out for evaluation: train with seeds below {RESERVED.start}, got one of"
        f" {RESERVED.start} to {RESERVED.stop - 1}"
    )
