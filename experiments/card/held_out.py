"""Which games a task is played on: the first different ones by the reserved seeds, of the test split by their hash.

The same for every agent, for a card of any size (a smaller one takes fewer of them) and on any machine. Finding them
takes a second or two for each, so they are kept in the card's results and not looked for again.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict
from hashlib import sha256
from typing import Any, TypeAlias

import games
from experiments.card.tasks import VARIANTS, Task
from games.errors import GameError
from games.game_hash import game_hash
from games.textworld.generation.dataset import PATIENCE
from games.textworld.generation.make_game import cached_game
from games.textworld.generation.manifest import split_of
from games.textworld.generation.reserved_seeds import RESERVED

Found: TypeAlias = tuple[int, int, str]
"""Level, seed and canonical hash of a game."""


def identity(task: Task) -> str:
    """A hash of all that decides which games a task has."""
    fields = {name: value for name, value in asdict(task).items() if name not in ("title", "references", "max_turns")}
    return sha256(json.dumps([fields, RESERVED.start], sort_keys=True).encode()).hexdigest()


def find(task: Task, count: int, known: Sequence[Found] = ()) -> list[Found]:
    """The first `count` games of a task, or all that there are; `known` were found before.

    A seed is passed over where TextWorld makes no game, the game is of another split, or it was met before. After
    PATIENCE such seeds in a row the task has no other games.
    """
    found, misses = list(known), 0
    hashes = {name for _, _, name in found}
    for seed in range(found[-1][1] + 1 if found else RESERVED.start, RESERVED.stop):
        if len(found) >= count or misses == PATIENCE:
            break
        level = task.levels[len(found) % len(task.levels)]
        name = _new(task, level, seed, hashes)
        misses = misses + 1 if name is None else 0
        if name is not None:
            found.append((level, seed, name))
            hashes.add(name)
    return found[:count]


def _new(task: Task, level: int, seed: int, hashes: Collection[str]) -> str | None:
    """The hash of the game of that seed where it is one for this task, made for both variants; None where not."""
    told, untold = (games.resolve(task.game(variant, level, seed))[0] for variant in VARIANTS)
    try:
        name = game_hash(told)
        if name in hashes or (task.by_hash and split_of(name) != "test"):
            return None
        for spec in (told, untold):
            cached_game(spec.target, dict(spec.settings))
    except GameError:
        return None
    return name


def from_json(data: Sequence[Sequence[Any]]) -> list[Found]:
    """Games as `json` reads them."""
    return [(int(level), int(seed), str(name)) for level, seed, name in data]
