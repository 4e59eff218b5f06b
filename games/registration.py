"""Registration of our games with Gymnasium. The games themselves are imported when they are made.

Gymnasium loaded plug-ins through entry points up to 0.29. Since 1.0 an id with a module in front needs no import
beforehand: `gymnasium.make("games:actde/Bandit-v0")`.
"""

from __future__ import annotations

ENTRY_POINTS = {
    "actde/Bandit-v0": "games.bandit:Bandit",
    "actde/IPD-v0": "games.ipd:PrisonersDilemma",
    "actde/TextWorld-v0": "games.specs:make_textworld",
}
"""Gymnasium id -> class or factory. `actde/TextWorld-v0` needs the keyword `game`, a path or a GAME string."""
VECTOR_ENTRY_POINTS = {"actde/TextWorld-v0": "games.vector:make_textworld_vec"}
"""Gymnasium id -> factory of `gymnasium.make_vec`; Gymnasium vectorizes the other games itself."""


def register() -> None:
    """Register all games with Gymnasium, unless they are registered already."""
    from gymnasium.envs.registration import register, registry

    for name, entry_point in ENTRY_POINTS.items():
        if name not in registry:
            register(id=name, entry_point=entry_point, vector_entry_point=VECTOR_ENTRY_POINTS.get(name))
