"""Read and write `manifest.jsonl`, which describes one game per line."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from games import files
from games.errors import GameError, nearest
from games.untrusted_files import parse_json, read_bytes, read_lines

NAME = "manifest.jsonl"
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestEntry:
    """One game of a curriculum.

    Attributes:
        file: name of the `.z8` file.
        path: its full path, which the manifest does not store.
        max_score: in game points.
        walkthrough_length: number of commands.
        hash: canonical hash of the game (`make_game.canonical_hash`).
        sha256: hash of the game's files (`files_hash`).
    """

    file: str
    family: str
    level: int
    seed: int
    split: str
    settings: dict[str, Any]
    max_score: int
    walkthrough_length: int
    hash: str
    sha256: str
    path: Path = field(default=Path(), compare=False)


KEYS = tuple(item.name for item in fields(ManifestEntry) if item.name != "path")
TYPES = {"level": int, "seed": int, "max_score": int, "walkthrough_length": int, "settings": dict}


def split_of(game_hash: str) -> str:
    """Return the split of a game: `train` (60 % of all games), `valid` (20 %) or `test` (20 %).

    `game_hash` is the game's canonical hash.
    """
    # not for cooking games, which TextWorld itself splits
    return ("valid", "test", "train", "train", "train")[int(game_hash[:8], 16) % 5]


def files_hash(story: Path) -> str:
    """Return the SHA-256 of a game's two files, `.z8` and `.json`."""
    return hashlib.sha256(read_bytes(story) + read_bytes(story.with_suffix(".json"))).hexdigest()


def write_manifest(folder: Path, entries: Iterable[ManifestEntry]) -> None:
    lines = (json.dumps({key: getattr(entry, key) for key in KEYS}) + "\n" for entry in entries)
    files.atomic_write(folder / NAME, lines)


def load_manifest(path: Path, *, split: str | None = None) -> list[ManifestEntry]:
    """Return the games of a manifest, by default of all splits.

    Raise GameError if a line or a game file is invalid.
    """
    if split is not None and split not in SPLITS:
        raise GameError(f"no split is called {split!r}; {nearest(split, SPLITS)}")
    with files.disk_errors("read the manifest", "is it readable?"):
        entries = [_parse(line, location, path.parent) for location, line in read_lines(path)]
        if not entries:
            raise GameError(f"{path}: the manifest is empty")
        selected = [entry for entry in entries if split in (None, entry.split)]
        if not selected:
            splits = sorted({entry.split for entry in entries})
            raise GameError(f"{path}: no game of the {split} split; it holds: {', '.join(splits)}")
        for entry in selected:
            for file in (entry.path, entry.path.with_suffix(".json")):
                if not file.is_file():
                    raise GameError(f"{path}: its game file {file.name} is missing")
            if files_hash(entry.path) != entry.sha256:
                raise GameError(f"{path}: its game file {entry.file} is damaged or was changed")
    return selected


def _parse(line: str, location: str, folder: Path) -> ManifestEntry:
    try:
        entry = parse_json(line, location)
    except GameError:
        raise GameError(f"{location}: not JSON") from None
    if not isinstance(entry, dict) or set(entry) != set(KEYS):
        raise GameError(f"{location}: expected an object with exactly the keys {', '.join(KEYS)}")
    for key in KEYS:
        expected_type = TYPES.get(key, str)
        if type(entry[key]) is not expected_type:
            raise GameError(f"{location}: {key}: expected {expected_type.__name__}, got {type(entry[key]).__name__}")
    if entry["split"] not in SPLITS:
        raise GameError(f"{location}: split: expected one of {', '.join(SPLITS)}, got {entry['split']!r}")
    name = entry["file"]
    if Path(name).name != name or not name.endswith(".z8") or not name.isprintable():
        raise GameError(f"{location}: file: expected the name of a .z8 file in the same folder, got {name!r}")
    return ManifestEntry(**entry, path=folder / name)
