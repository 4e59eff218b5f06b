"""Find the held-out games of a task: the first distinct games, by reserved seed, whose hash is in the test split.

Reserved seeds are those that `train` refuses. The games are the same for every agent and machine. A smaller card uses
the first games of a larger card. The search takes one or two seconds per game, so the card's results store the games.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from typing import Any, NamedTuple

import games
from experiments.card.tasks import VARIANTS, Task
from games.errors import GameError
from games.game_hash import game_hash
from games.textworld.generation.dataset import PATIENCE
from games.textworld.generation.make_game import cached_game
from games.textworld.generation.manifest import split_of
from games.textworld.generation.reserved_seeds import RESERVED


class HeldOutGame(NamedTuple):
    """A held-out game of a task. JSON stores it as a list."""

    level: int
    seed: int
    hash: str
    """Canonical hash."""


def identity(task: Task) -> str:
    """Return a hash of every field that determines the games of a task."""
    fields = {name: value for name, value in asdict(task).items() if name not in ("title", "references", "max_turns")}
    return sha256(json.dumps([fields, RESERVED.start], sort_keys=True).encode()).hexdigest()


def find(task: Task, count: int, known: Sequence[HeldOutGame] = ()) -> list[HeldOutGame]:
    """Return the first `count` games of a task, or all its games if there are fewer.

    `known` contains the first games, which an earlier search found. A seed is skipped if TextWorld cannot generate its
    game, or if the game is a duplicate or in another split. The search ends after PATIENCE consecutive skipped seeds.
    """
    found, skipped = list(known), 0
    hashes = {game.hash for game in found}
    for seed in range(found[-1].seed + 1 if found else RESERVED.start, RESERVED.stop):
        if len(found) >= count or skipped == PATIENCE:
            break
        level = task.levels[len(found) % len(task.levels)]
        name = _new_game(task, level, seed, hashes)
        skipped = skipped + 1 if name is None else 0
        if name is not None:
            found.append(HeldOutGame(level, seed, name))
            hashes.add(name)
    return found[:count]


def training_games(about: Mapping[str, Any]) -> frozenset[str]:
    """Return the hashes of an agent's training games.

    An older `agent.json` contains the name of the games instead of their hashes. In this case the hashes are computed.
    """
    hashes = about.get("trained_on")
    if hashes is None and "made_by" in about:
        hashes = map(game_hash, games.resolve(about["made_by"]["run"]["game"]))
    return frozenset(hashes or ())


def _new_game(task: Task, level: int, seed: int, hashes: Collection[str]) -> str | None:
    """Generate both variants of a seed's game and return its hash, or None if the seed must be skipped."""
    specs = [games.resolve(task.game(variant, level, seed))[0] for variant in VARIANTS]
    try:
        name = game_hash(specs[0])
        if name in hashes or (task.by_hash and split_of(name) != "test"):
            return None
        for spec in specs:
            cached_game(spec.target, dict(spec.settings))
    except GameError:
        return None
    return name
