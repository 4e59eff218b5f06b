"""The seeds that no training may use: games by them are for the evaluation card alone (`evaluate --card`).

Another seed may make the same game, where a family has few. So the card also takes only games of the test split by
their hash (`games.textworld.generation.manifest.split_of`), and says where an agent was trained on one all the same.
"""

from __future__ import annotations

from collections.abc import Iterable

from games.errors import GameError
from games.specs import GameSpec

RESERVED = range(2_000_000_000, 2_000_100_000)
"""Seeds of held-out games."""


def refuse_reserved(specs: Iterable[GameSpec]) -> None:
    """GameError where one of these games has a reserved seed."""
    for spec in specs:
        if dict(spec.settings).get("seed") in RESERVED:
            raise GameError(
                f"{spec.name} is held out for evaluation: train with seeds below {RESERVED.start}, got one of"
                f" {RESERVED.start} to {RESERVED.stop - 1}"
            )
