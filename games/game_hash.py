"""Which game is this? A hash that is the same for games that play alike, to keep training and test games apart.

For TextWorld's games it is the canonical hash of facts, names and quests (`make_game.py`): a manifest says it, else
the game's record is read; one that is not in the cache yet is made. For a story without a
record it is the hash of its bytes, for `bandit` and `ipd` that of their name.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path

from games.errors import GameError
from games.files import sha256
from games.specs import GameSpec
from games.textworld.validation import game_file


def game_hash(spec: GameSpec) -> str:
    """The hash of one game, 64 hexadecimal digits. GameError where it cannot be made or read."""
    if spec.hash is not None:
        return spec.hash
    if spec.kind == "textworld":
        from games.textworld.generation.make_game import cached_game

        return _of_record(cached_game(spec.target, dict(spec.settings)).with_suffix(".json"))
    if spec.kind == "file":
        path = Path(spec.target)
        if not game_file.is_plain(path):
            return _of_record(game_file.pair(path)[1])
        return sha256(path)
    return hashlib.sha256(spec.name.encode()).hexdigest()


@lru_cache(maxsize=4096)
def _of_record(record: Path) -> str:
    from textworld.generator.game import Game

    from games.textworld.generation.make_game import canonical_hash
    from games.textworld.upstream.start import rules_parsed_once

    try:
        with rules_parsed_once():
            return canonical_hash(Game.deserialize(json.loads(record.read_text("utf-8"))))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise GameError(f"{record}: not TextWorld's record of a game ({type(error).__name__}: {error})") from error
