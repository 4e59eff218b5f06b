"""Hashes of games and of their files."""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from games.completion.input_files import input_files
from games.errors import GameError
from games.files import sha256
from games.game_spec import BUILT_IN, GameSpec
from games.textworld import pddl_file
from games.textworld.validation import game_file
from games.untrusted_files import read_json


def game_hash(spec: GameSpec) -> str:
    """Return the SHA-256 of a game's content. For a game without a file, return the SHA-256 of the GAME string."""
    if spec.hash is not None:
        return spec.hash
    if spec.kind in BUILT_IN or spec.kind in ("open", "suite"):
        return hashlib.sha256(spec.name.encode()).hexdigest()
    story = spec.story()
    if story.suffix == pddl_file.SUFFIX or game_file.is_plain(story):
        return sha256(story)
    record = game_file.story_and_record(story)[1]
    return _record_hash(record, record.stat().st_mtime_ns)


def input_digests(specs: Iterable[GameSpec]) -> dict[str, str]:
    """Return a dict: path -> SHA-256, for game files, prompts and reward models."""
    paths: set[Path] = set()
    for spec in specs:
        if spec.kind == "file":
            paths |= {Path(spec.target), Path(spec.target).with_suffix(".json")}
        elif spec.kind == "completion":  # code is not included, because a user may correct it
            paths |= set(input_files(dict(spec.settings)))
    stats = {path: path.stat() for path in sorted(paths) if path.is_file()}
    return {str(path): _digest(path.absolute(), stat.st_mtime_ns, stat.st_size) for path, stat in stats.items()}


@lru_cache(maxsize=4096)
def _digest(path: Path, modified_ns: int, size: int) -> str:
    return sha256(path)


@lru_cache(maxsize=4096)
def _record_hash(record: Path, modified_ns: int) -> str:
    from textworld.generator.game import Game

    from games.textworld.generation.make_game import canonical_hash
    from games.textworld.upstream.start import rules_parsed_once

    try:
        with rules_parsed_once():
            return canonical_hash(Game.deserialize(read_json(record)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise GameError(f"{record}: not TextWorld's record of a game ({type(error).__name__}: {error})") from error
