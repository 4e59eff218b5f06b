"""Text games as Gymnasium environments.

A game is a `gymnasium.Env` whose observations and actions are `str`:

    env = games.resolve("textworld:simple?level=1&seed=7")[0].make()
    text, info = env.reset(seed=0)
    text, reward, terminated, truncated, info = env.step(info["admissible_commands"][0])

Every game follows these rules:

* Any `str` is a legal action. An action of another type raises TypeError.
* `reward` is the change in score, in game points.
* `terminated` means that the game has ended.
* `truncated` means that the turn limit has stopped the episode. `terminated` and `truncated` are never both true.
* The same seed and commands give the same episode.
* A user error raises `GameError` with a one-line message.

`info` always has these entries:

* `admissible_commands`: a sorted list, empty after the end and if the commands are free text.
* `score`: the sum of the rewards so far
* `moves`: the number of commands so far
* `won`, `lost`: whether the game is won or lost. `won` is None if the game does not report the outcome.

These entries are optional:

* `max_score`: the largest possible score
* `objective`: the task
* `strategy`: the player's current strategy, one of the game's `strategies`
* `continuation`: reset options that continue a truncated game

In a transcript, a command stands between the texts `metadata["prompt"]` and `metadata["terminator"]`.

To write a game, subclass `games.base.TextGame` and implement `_start` and `_play`. Importing this package
registers our games, such as `actde/Bandit-v0`, with Gymnasium.
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

# Gymnasium can vectorize the other games. Its `AsyncVectorEnv` needs shared_memory=False (a bug, up to version 1.4).
_VECTORIZED = {"actde/TextWorld-v0": "games.vector:make_textworld_vec"}
for _id, _entry_point in ENTRY_POINTS.items():
    if _id not in gymnasium.registry:
        gymnasium.register(id=_id, entry_point=_entry_point, vector_entry_point=_VECTORIZED.get(_id))
