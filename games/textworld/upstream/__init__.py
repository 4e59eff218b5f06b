"""All code that patches, bypasses or replaces parts of TextWorld and Jericho; nothing else uses their private names.

    module            replaces                                               because
    ----------------  -----------------------------------------------------  -----------------------------------------
    start             parsing the rules at every load; playing `look` and    takes most of the time of loading a game
                      `inventory` at every step; the order of rule files     and of a step; the order differs by machine
    compile           Inform 7 with an index and a home folder               the index takes longer than the story
    fast_chaining     the inner loops of the search for quests               minutes in a world of 20 rooms
    rule_simulation   compiling and playing a game for its walkthrough       costs as much as compiling the final game
    interpreter       Jericho's step, get_state and set_state                they allocate, copy and compute a score
    rule_matching     State.all_assignments                                  takes most of the time of a step
    quest_progress    QuestProgression, EventProgression                     mutable, so that states cannot be stored
    game_state        GameProgression, Inform7Game.detect_action             mutable, so that states cannot be stored

None changes a result. All were checked against TextWorld 1.7.0 and Jericho 3.3.1; the tests in
`tests/games/textworld/upstream/` compare results with the replaced code and fail when its source changes.

The environment variable ACTDE_ENGINE chooses who plays TextWorld's games, and the keyword `engine` of the environment
takes precedence:

    cached   the transition cache, built with the code of this folder (default)
    stock    TextWorld's own environment. The variable also turns off all patches of loading, generating and compiling.
             One patch stays: rule files are read in a fixed order, because a generated game must have the same bytes
             on every machine. The check of a new game (`validation/playthrough_check.py`) simulates its rules anyway.
"""

from __future__ import annotations

import os

from games.errors import GameError

VARIABLE = "ACTDE_ENGINE"
ENGINES = ("cached", "stock")


def engine_choice(engine: str | None = None) -> str:
    """Return `engine`, or the value of ACTDE_ENGINE where it is None; raises GameError where it is no engine."""
    name = f"{VARIABLE}=" if engine is None else "engine="
    engine = (os.environ.get(VARIABLE) or ENGINES[0]) if engine is None else engine
    if engine not in ENGINES:
        raise GameError(f"{name}{engine}: expected one of {', '.join(ENGINES)}")
    return engine


def patches_enabled() -> bool:
    """Return False where ACTDE_ENGINE is `stock`."""
    return engine_choice() != "stock"
