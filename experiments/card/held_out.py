"""Find the held-out games of a task, which have reserved seeds."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any, NamedTuple

import games
from experiments.card.tasks import VARIANTS, Task
from games.errors import GameError
from games.files import json_hash
from games.game_hash import game_hash
from games.textworld.generation.dataset import PATIENCE
from games.textworld.generation.make_game import cached_game
from games.textworld.generation.manifest import split_of
from games.textworld.generation.reserved_seeds import RESERVED


class HeldOutGame(NamedTuple):
    """A held-out game with its canonical hash."""

    level: int
    seed: int
    hash: str


def identity(task: Task) -> str:
    """Return a hash of the fields that determine a task's games."""
    fields = {name: value for name, value in asdict(task).items() if name not in ("title", "references", "max_turns")}
    return json_hash([fields, RESERVED.start])


def find(task: Task, count: int, known: Sequence[HeldOutGame] = ()) -> list[HeldOutGame]:
    """Return the first `count` held-out games of a task, or fewer if there are no more.

    The search continues after the games `known`.
    """
    found, skipped = list(known), 0
    for seed in range(found[-1].seed + 1 if found else RESERVED.start, RESERVED.stop):
        if len(found) >= count or skipped == PATIENCE:
            break
        level = task.levels[len(found) % len(task.levels)]
        name = _new_game(task, level, seed, {game.hash for game in found})
        skipped = skipped + 1 if name is None else 0
        found += [] if name is None else [HeldOutGame(level, seed, name)]
    return found[:count]


def training_games(about: Mapping[str, Any]) -> frozenset[str]:
    """Return the hashes of an agent's training games, given its `agent.json`."""
    hashes = about.get("trained_on")
    if hashes is None and "made_by" in about:  # a file of an earlier version
        hashes = map(game_hash, games.resolve_stored(about["made_by"]["run"]["game"], "the agent"))
    return frozenset(hashes or ())


def _new_game(task: Task, level: int, seed: int, hashes: Collection[str]) -> str | None:
    """Generate a game in both variants. Return its hash, or None to skip the seed."""
    specs = [games.resolve(task.game(variant, level, seed))[0] for variant in VARIANTS]
    with suppress(GameError):
        name = game_hash(specs[0])
        if name in hashes or (task.by_hash and split_of(name) != "test"):
            return None
        for spec in specs:
            cached_game(spec.target, dict(spec.settings))
        return name
    return None
