"""Text games behind one interface: the bandit, the iterated prisoner's dilemma and TextWorld.

A game is a `gymnasium.Env` whose observations and actions are `str`:

    env = games.resolve("textworld:simple?level=1&seed=7")[0].make()
    text, info = env.reset(seed=0)
    text, reward, terminated, truncated, info = env.step(info["admissible_commands"][0])

The contract, beyond Gymnasium's:

* Any `str` is a legal action; the game answers a command that it does not understand. Another type raises TypeError.
* `reward` is the gain of this command in game points, never the running score.
* `terminated` means that the game has ended, `truncated` that the turn limit has cut it. They are never both true.
* `info` always holds `admissible_commands` (a sorted list; empty after the end), `score` (the running sum of rewards),
  `won`, `lost` and `moves` (commands so far). It holds `max_score` and `objective` where a game has them, and after
  truncation `continuation`, the reset options that continue the game, where a game can be continued.
* A class that names `strategies` reports in `info["strategy"]` which of them the last command followed.
* The class's `metadata` holds the text around a command in a transcript: the game writes `prompt` before it, and
  `terminator` ends it.
* The same seed and commands give the same episode.

A mistake of the user raises `GameError` with a message of one line. `games.base.TextGame` implements what all games
share, so a new game is a subclass with two methods.

Importing this package registers `actde/Bandit-v0`, `actde/IPD-v0` and `actde/TextWorld-v0` with Gymnasium, so
`gymnasium.make("games:actde/Bandit-v0")` needs no import.
"""

from games.errors import GameError, nearest
from games.ranges import parse_levels
from games.registration import register
from games.specs import GameSpec, resolve
from games.textworld.generation.dataset import Progress, generate
from games.textworld.generation.manifest import ManifestEntry, load_manifest
from games.wrappers import shape, starts_with_words

__all__ = [
    "GameError",
    "GameSpec",
    "ManifestEntry",
    "Progress",
    "generate",
    "load_manifest",
    "nearest",
    "parse_levels",
    "register",
    "resolve",
    "shape",
    "starts_with_words",
]

register()
