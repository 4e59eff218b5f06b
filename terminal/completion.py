"""Shell completion of the script `actde`: the values that complete an option."""

import os
import sys
from collections.abc import Iterable

PROGRAM = "actde"
VARIABLE = "_ACTDE_COMPLETE"  # set by the shell's completion function


def typed_command() -> list[str]:
    """Return the command of this process, or the one that a shell completes, as a list of at most one word."""
    words = sys.argv
    if VARIABLE in os.environ:
        words = (os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS", "")).split()
    return words[1:2]


def games(incomplete: str) -> list[str]:
    """Return the names of games that begin with a text."""
    from games.game_spec import BUILT_IN
    from games.textworld.generation.families import FAMILIES

    return _starting([*BUILT_IN, *(f"textworld:{name}" for name in FAMILIES)], incomplete)


def agents(incomplete: str) -> list[str]:
    """Return the names of agents that begin with a text."""
    from agents.registry import NAMES

    return _starting(NAMES, incomplete)


def shipped_agents(incomplete: str) -> list[str]:
    """Return the names of shipped agents that begin with a text."""
    from agents.registry import TRAINED

    return _starting(TRAINED, incomplete)


def optimizers(incomplete: str) -> list[str]:
    """Return the names of optimizers that begin with a text. Names before a comma are kept."""
    from actde.registry import optimizer_names

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in _starting(optimizer_names(), last)]


def trunks(incomplete: str) -> list[str]:
    """Return the names of trunks that begin with a text."""
    from agents.config import SCRATCH, SMOLLM2

    return _starting([*SCRATCH, SMOLLM2], incomplete)


def choices_of(name: str, incomplete: str) -> list[str]:
    """Return the values that a setting may have, and that begin with a text."""
    from actde.config import choices
    from agents.config import FIELDS

    return _starting(choices(FIELDS[name]), incomplete)


def _starting(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
