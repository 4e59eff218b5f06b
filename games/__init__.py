"""Text games behind one interface: the bandit, the iterated prisoner's dilemma, TextWorld. Text in, text out.

A game is a `gymnasium.Env` whose observations and commands are `str`:

    env = games.resolve("textworld:simple?level=1&seed=7")[0].make()
    text, info = env.reset(seed=0)
    text, reward, terminated, truncated, info = env.step(info["admissible_commands"][0])

The reward is what this command earned, never the running score. `terminated` means that the game is over,
`truncated` that the turn limit cut it. `info` always holds `admissible_commands` (sorted; empty after the end),
`score`, `won`, `lost`, `moves`, and `max_score` and `objective` where a game has them. A game that names its
strategies (the class's `strategies`) says after a command which of them it followed (`strategy`). A class's
`metadata` says how the text goes on: `prompt` is what the game writes before a command, `terminator` ends one.
Any `str` is a move; a wrong type raises.

Importing this package registers `actde/Bandit-v0`, `actde/IPD-v0` and `actde/TextWorld-v0` with Gymnasium, so
`gymnasium.make("games:actde/Bandit-v0")` needs no import. A user's mistake raises `GameError`.
"""

from games.errors import GameError, nearest
from games.ranges import parse_levels
from games.registration import register
from games.specs import GameSpec, resolve
from games.textworld.generation.dataset import Progress, generate
from games.textworld.generation.manifest import Entry, load_manifest
from games.wrappers import is_act, shape

__all__ = [
    "Entry",
    "GameError",
    "GameSpec",
    "Progress",
    "generate",
    "is_act",
    "load_manifest",
    "nearest",
    "parse_levels",
    "register",
    "resolve",
    "shape",
]

register()
