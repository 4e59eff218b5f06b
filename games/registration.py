"""Register our games with Gymnasium. The game classes are imported only when a game is made.

Gymnasium 0.29 and earlier loaded plug-ins through entry points. Since Gymnasium 1.0, an id may start with the module
that registers it, as in `gymnasium.make("games:actde/Bandit-v0")`. Gymnasium then imports the named module itself.
"""

ENTRY_POINTS = {
    "actde/Bandit-v0": "games.bandit:Bandit",
    "actde/Completion-v0": "games.completion:Completion",
    "actde/IPD-v0": "games.ipd:PrisonersDilemma",
    "actde/TextWorld-v0": "games.specs:make_textworld",
}
"""Gymnasium id -> class or factory.

The factory of `actde/TextWorld-v0` requires the keyword argument `game`, which is a GAME string (see `games.specs`).
"""
VECTOR_ENTRY_POINTS = {"actde/TextWorld-v0": "games.vector:make_textworld_vec"}
"""Gymnasium id -> factory for `gymnasium.make_vec`. Gymnasium vectorizes the other games itself."""


def register() -> None:
    """Register all games with Gymnasium, unless they are registered already."""
    from gymnasium.envs.registration import register, registry

    for name, entry_point in ENTRY_POINTS.items():
        if name not in registry:
            register(id=name, entry_point=entry_point, vector_entry_point=VECTOR_ENTRY_POINTS.get(name))
