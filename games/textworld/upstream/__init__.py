"""All code that patches, bypasses or replaces parts of TextWorld and Jericho.

No code outside this folder uses private names of TextWorld or Jericho. "Record" means the `.json` file in which
TextWorld describes a game: its rules, facts and quests. A "trace" is a line in which the interpreter reports an action.

    module            replaces                                               because
    ----------------  -----------------------------------------------------  -----------------------------------------
    start             parsing the rules at every load                        it takes most of the time of loading a game
                      playing `look` and `inventory` at every step           it takes most of the time of a step
                      the order in which rule files are read                 the order differs between machines
    compile           Inform 7's index and access to the home folder         indexing takes longer than compiling
    fast_chaining     the inner loops of the search for quests               they take minutes in a world of 20 rooms
    rule_simulation   compiling and playing a game for its walkthrough       it costs as much as the final compilation
    opcodes           two opcodes of Jericho's interpreter                   one does not halt, the other crashes
    interpreter       Jericho's step                                         it computes a score that nobody reads
    rule_matching     State.all_assignments                                  it takes most of the time of a step
    quest_progress    QuestProgression, EventProgression                     they change in place and cannot be stored
    game_state        GameProgression, Inform7Game.detect_action             they change in place and cannot be stored
    pddl_start        Python's `eval` in the texts of `.tw-pddl` games       a game file could run any code
                      parsing and copying such texts at every step           it takes most of the time of a step

No replacement changes a result of TextWorld 1.7.0 and Jericho 3.3.1. The tests in `tests/games/textworld/upstream/`
compare the results with those of the replaced code, and fail if its source changes.

The environment variable ACTDE_ENGINE, or the keyword argument `engine` of our environment, selects the engine:

    cached   The transition cache, which is built with the code of this folder (default).
    stock    TextWorld's own environment. If the variable selects it, most patches of loading, generating and compiling
             are off too. Some stay on. Rule files are still read in a fixed order, because a generated game must have
             the same bytes on every machine. The check of a new game still simulates the game's rules. Opcodes are
             still repaired, and texts of `.tw-pddl` games are never passed to `eval`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from games.errors import GameError

VARIABLE = "ACTDE_ENGINE"
ENGINES = ("cached", "stock")


def engine_choice(engine: str | None = None) -> str:
    """Return `engine` if given, else the value of ACTDE_ENGINE, else `cached`. Raise GameError for an unknown name."""
    name = f"{VARIABLE}=" if engine is None else "engine="
    engine = (os.environ.get(VARIABLE) or ENGINES[0]) if engine is None else engine
    if engine not in ENGINES:
        raise GameError(f"{name}{engine}: expected one of {', '.join(ENGINES)}")
    return engine


def patches_enabled() -> bool:
    """Return whether the optional patches of this folder apply. They do unless ACTDE_ENGINE is `stock`."""
    return engine_choice() != "stock"


@contextmanager
def patched(owner: Any, **replacements: Any) -> Iterator[None]:
    """Replace attributes of a class or a module inside the `with` block."""
    originals = {name: vars(owner)[name] for name in replacements}
    try:
        for name, replacement in replacements.items():
            setattr(owner, name, replacement)
        yield
    finally:
        for name, original in originals.items():
            setattr(owner, name, original)
