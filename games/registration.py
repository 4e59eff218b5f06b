"""Register our games with Gymnasium. The class of a game is imported only when a game is made."""

# Gymnasium id -> class or factory. A factory requires the keyword argument `game` (see `games.game_strings`).
ENTRY_POINTS = {
    "actde/Bandit-v0": "games.bandit:Bandit",
    "actde/Completion-v0": "games.completion:Completion",
    "actde/IPD-v0": "games.ipd:PrisonersDilemma",
    "actde/TextWorld-v0": "games.game_strings:make_textworld",
}
# the same for `gymnasium.make_vec`, which can vectorize the other games itself
VECTOR_ENTRY_POINTS = {"actde/TextWorld-v0": "games.vector:make_textworld_vec"}


def register() -> None:
    """Register all games with Gymnasium, unless they are registered already."""
    from gymnasium.envs.registration import register, registry

    for name, entry_point in ENTRY_POINTS.items():
        if name not in registry:
            register(id=name, entry_point=entry_point, vector_entry_point=VECTOR_ENTRY_POINTS.get(name))
