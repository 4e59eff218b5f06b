"""Read `.tw-pddl` files, TextWorld's format for games in PDDL."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from games.errors import GameError
from games.untrusted_files import read_json, validated

SUFFIX = ".tw-pddl"
INFOS = ("policy_commands", "intermediate_reward")  # the entries of `protocol.INFOS` that these games can provide
MAX_FILE = 16_000_000  # bytes; a game of ALFWorld has less than a megabyte


@dataclass(frozen=True, slots=True, kw_only=True)
class PddlGame:
    """The content of a `.tw-pddl` file."""

    pddl_domain: str
    pddl_problem: str
    grammar: str
    walkthrough: list[str] | None = None


def read(path: Path) -> PddlGame:
    """Read a game. Raise GameError if the file is malformed or the planner is not installed."""
    game = validated(PddlGame, read_json(path, limit=MAX_FILE, error=GameError), str(path), GameError)
    if find_spec("fast_downward") is None:
        raise GameError(f"{path} needs the package fast-downward-textworld: pip install -e '.[pddl]'")
    return game
