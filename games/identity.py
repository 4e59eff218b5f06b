"""Which game it is: a hash of what happens in it, so that games that play alike are known to be the same."""

from __future__ import annotations

from pathlib import Path

from games import gamefile
from games.making import canonical_hash, make_game
from games.specs import GameSpec


def game_hash(spec: GameSpec) -> str:
    """The canonical hash of a TextWorld game (`games.making.canonical_hash`); the name of any other game."""
    if spec.kind == "textworld":
        return canonical_hash(make_game(spec.target, dict(spec.settings)))
    if spec.kind != "file" or gamefile.is_plain(Path(spec.target)):
        return spec.name
    from textworld import Game

    return canonical_hash(Game.load(str(Path(spec.target).with_suffix(".json"))))
