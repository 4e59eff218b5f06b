"""Text games as Gymnasium environments: the bandit, the completion game, the iterated prisoner's dilemma and TextWorld.

A game is a `gymnasium.Env` whose observations and actions are `str`:

    env = games.resolve("textworld:simple?level=1&seed=7")[0].make()
    text, info = env.reset(seed=0)
    text, reward, terminated, truncated, info = env.step(info["admissible_commands"][0])

In addition to Gymnasium's API, every game follows these rules:

* Any `str` is a legal action, even text that the game does not understand. An action of another type raises TypeError.
* `reward` is the change in score that the command causes, in game points. It is not the running score.
* `terminated` means that the game has ended. `truncated` means that the turn limit has stopped the episode. They are
  never both true.
* `info` always holds `admissible_commands` (a sorted list, empty after the end and in games of free text), `score` (the
  sum of the rewards so far), `won`, `lost` and `moves` (the number of commands so far).
* `won` is True, False or None. None means that the outcome is unknown, which occurs only with environments of other
  projects. If an environment reports the outcome of some episodes only, the evaluation counts the others as not won.
* `info` also holds `max_score` and `objective` if the game has them.
* If a truncated game can be continued, `info["continuation"]` holds the reset options that continue the game.
* If a game class defines `strategies`, `info["strategy"]` names the strategy that the last command followed.
* The `metadata` of a game class defines how a transcript shows a command. The text `metadata["prompt"]` precedes the
  command, and the text `metadata["terminator"]` ends the command.
* The same seed and commands give the same episode.

A user error raises `GameError` with a one-line message. `games.base.TextGame` implements the behaviour that all games
share, so a new game is a subclass with two methods.

Importing this package registers `actde/Bandit-v0`, `actde/Completion-v0`, `actde/IPD-v0` and `actde/TextWorld-v0` with
Gymnasium. Gymnasium itself imports the package for `gymnasium.make("games:actde/Bandit-v0")`.
"""

import gymnasium

from games.errors import EpisodeError, FatalGameError, GameError, ScorerError
from games.external_env import ExternalEnv
from games.game_spec import GameSpec, offers_commands
from games.game_strings import ENTRY_POINTS, resolve, resolve_stored
from games.parameters import parse_levels, readable
from games.textworld.generation.dataset import Progress, generate
from games.textworld.generation.manifest import ManifestEntry, load_manifest
from games.wrappers import shape, starts_with_words

__all__ = [
    "EpisodeError",
    "ExternalEnv",
    "FatalGameError",
    "GameError",
    "GameSpec",
    "ManifestEntry",
    "Progress",
    "ScorerError",
    "generate",
    "load_manifest",
    "offers_commands",
    "parse_levels",
    "readable",
    "resolve",
    "resolve_stored",
    "shape",
    "starts_with_words",
]

_VECTORIZED = {"actde/TextWorld-v0": "games.vector:make_textworld_vec"}  # Gymnasium can vectorize the other games
for _id, _entry_point in ENTRY_POINTS.items():
    if _id not in gymnasium.registry:
        gymnasium.register(id=_id, entry_point=_entry_point, vector_entry_point=_VECTORIZED.get(_id))
