"""Find the held-out games of a task, whose seeds the command `train` refuses."""

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
    """A held-out game. Equal games have equal hashes."""

    level: int
    seed: int
    hash: str


def task_hash(task: Task) -> str:
    """Return a hash of the fields that determine a task's games."""
    fields = {name: value for name, value in asdict(task).items() if name not in ("title", "references", "max_turns")}
    return json_hash([fields, RESERVED.start])


def find_games(task: Task, count: int, known_games: Sequence[HeldOutGame] = ()) -> list[HeldOutGame]:
    """Return up to `count` held-out games of a task, sorted by seed.

    The first games of the result are `known_games`.
    """
    held_out, skipped = list(known_games), 0
    for seed in range(held_out[-1].seed + 1 if held_out else RESERVED.start, RESERVED.stop):
        if len(held_out) >= count or skipped == PATIENCE:
            break
        level = task.levels[len(held_out) % len(task.levels)]
        new_hash = _new_game_hash(task, level, seed, {game.hash for game in held_out})
        skipped = skipped + 1 if new_hash is None else 0
        held_out += [] if new_hash is None else [HeldOutGame(level, seed, new_hash)]
    return held_out[:count]


def training_games(metadata: Mapping[str, Any]) -> frozenset[str]:
    """Return the hashes of an agent's training games. `metadata` is the content of the agent's `agent.json`."""
    hashes = metadata.get("trained_on")
    if hashes is None and "made_by" in metadata:  # a file of an earlier version
        hashes = map(game_hash, games.resolve_stored(metadata["made_by"]["run"]["game"], "the agent"))
    return frozenset(hashes or ())


def _new_game_hash(task: Task, level: int, seed: int, hashes: Collection[str]) -> str | None:
    """Generate a game. Return the game's hash, or None if the card must not use the game."""
    specs = [games.resolve(task.game(variant, level, seed))[0] for variant in VARIANTS]
    with suppress(GameError):
        new_hash = game_hash(specs[0])
        if new_hash in hashes or (task.by_hash and split_of(new_hash) != "test"):
            return None
        for spec in specs:
            cached_game(spec.target, dict(spec.settings))
        return new_hash
    return None
