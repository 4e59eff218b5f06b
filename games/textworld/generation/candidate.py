"""Make and judge one candidate game of a curriculum in a worker process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from games.errors import GameError
from games.textworld.generation.families import Values, family
from games.textworld.generation.manifest import files_hash, split_of


def judge(name: str, values: Values, split: str, path: Path) -> dict[str, Any]:
    """Make one candidate game, write it to `path` if it belongs to `split`, and return the verdict as a dict.

    `name` is the family and `values` are the settings of the game. The entry `verdict` is `made`, `other split` or, if
    TextWorld cannot make the game, `impossible`. If it is `made`, the other entries are values for the manifest. If it
    is `impossible`, the entry `why` holds the reason.
    """
    from games.textworld.generation import make_game

    settings = family(name).complete(values)
    try:
        game = make_game.make_game(name, settings)
        canonical = make_game.canonical_hash(game)
        if name != "cooking" and split_of(canonical) != split:
            return {"verdict": "other split"}
        make_game.write_game(game, path)
    except GameError as error:
        return {"verdict": "impossible", "why": str(error)}
    return {
        "verdict": "made",
        "hash": canonical,
        "settings": settings,
        "max_score": int(game.max_score),
        "walkthrough_length": len(game.metadata["walkthrough"]),
        "sha256": files_hash(path),
    }
