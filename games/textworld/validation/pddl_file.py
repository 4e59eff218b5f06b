"""Read a `.tw-pddl` file: a JSON object that describes a game by a PDDL domain, a PDDL problem and a grammar of texts.

The texts themselves are parsed by the engine (`engines/pddl.py`).
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import NotRequired

from typing_extensions import TypedDict  # pydantic accepts that of typing from Python 3.12

from games.errors import GameError
from games.reading import read_json

SUFFIX = ".tw-pddl"
INFOS = ("policy_commands", "intermediate_reward")
"""The entries of `protocol.INFOS` that these games have."""
MAX_FILE = 16_000_000
"""The maximum size of a file in bytes. A game of ALFWorld has less than a megabyte."""


class PddlGame(TypedDict):
    """The content of a file. Files of ALFWorld have further entries."""

    pddl_domain: str
    pddl_problem: str
    grammar: str
    walkthrough: NotRequired[list[str] | None]


def read(path: Path) -> PddlGame:
    """Return the content of a `.tw-pddl` file. Raise GameError if it is malformed, or if the planner is missing."""
    if find_spec("fast_downward") is None:
        raise GameError(f"{path} needs the package fast-downward-textworld: pip install -e '.[pddl]'")
    game: PddlGame = read_json(path, PddlGame, limit=MAX_FILE, error=GameError)
    return game
