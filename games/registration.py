"""Names of our games in Gymnasium's registry. The games themselves are imported when they are made.

Gymnasium had plug-ins through entry points up to 0.29; since 1.0 the name of a module in front of the id is the
way to need no import: `gymnasium.make("games:actde/Bandit-v0")`.
"""

from __future__ import annotations

GAMES = {
    "actde/Bandit-v0": "games.bandit:Bandit",
    "actde/IPD-v0": "games.ipd:PrisonersDilemma",
    "actde/TextWorld-v0": "games.textworld.env:TextWorld",
}
"""Gymnasium id -> the class. `actde/TextWorld-v0` needs the keyword `game`, a path or a GAME string."""


VECTORS = {"actde/TextWorld-v0": "games.vector:textworld"}
"""Gymnasium id -> what `gymnasium.make_vec` makes of it; the other games are stepped by Gymnasium's own."""


def register() -> None:
    """Register all games with Gymnasium; again is harmless."""
    from gymnasium.envs.registration import register, registry

    for name, entry_point in GAMES.items():
        if name not in registry:
            register(id=name, entry_point=entry_point, vector_entry_point=VECTORS.get(name))
