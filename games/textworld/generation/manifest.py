"""Read and write `manifest.jsonl`, which has one line for each game of a curriculum."""

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
    """One game of a curriculum, stored as one line of its manifest.

    `file` is the name of the `.z8`. `path`, its full path, is not stored. `settings` includes the values of the level's
    preset. `max_score` is in game points, and `walkthrough_length` is a number of commands. `hash` is the canonical
    hash (`make_game.canonical_hash`). `sha256` is the result of `files_hash`.
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


def split_of(canonical: str) -> str:
    """Return the split of the game that has the canonical hash `canonical`.

    Three fifths of all hashes belong to `train`, one fifth to `valid` and one fifth to `test`. Do not use this function
    for cooking games: TextWorld itself has separate foods and recipes for each split.
    """
    return ("valid", "test", "train", "train", "train")[int(canonical[:8], 16) % 5]


def files_hash(story: Path) -> str:
    """Return the SHA-256 of the bytes of a story (`.z8`) followed by the bytes of its record (`.json`)."""
    return hashlib.sha256(read_bytes(story) + read_bytes(story.with_suffix(".json"))).hexdigest()


def write_manifest(folder: Path, entries: Iterable[ManifestEntry]) -> None:
    """Write the manifest of `folder` atomically."""
    lines = (json.dumps({key: getattr(entry, key) for key in KEYS}) + "\n" for entry in entries)
    files.atomic_write(folder / NAME, lines)


def load_manifest(path: Path, *, split: str | None = None) -> list[ManifestEntry]:
    """Return the games of a manifest in its order, or only those of `split`.

    Raise GameError if a line is malformed, a file is missing, or a file's hash differs from the recorded hash.
    """
    if split is not None and split not in SPLITS:
        raise GameError(f"no split is called {split!r}; {nearest(split, SPLITS)}")
    with files.disk_errors("read the manifest", "is it readable?"):
        entries = [_parse(line, where, path.parent) for where, line in read_lines(path)]
        if not entries:
            raise GameError(f"{path}: the manifest is empty")
        kept = [entry for entry in entries if split in (None, entry.split)]
        if not kept:
            splits = sorted({entry.split for entry in entries})
            raise GameError(f"{path}: no game of the {split} split; it holds: {', '.join(splits)}")
        for entry in kept:
            for file in (entry.path, entry.path.with_suffix(".json")):
                if not file.is_file():
                    raise GameError(f"{path}: its game file {file.name} is missing")
            if files_hash(entry.path) != entry.sha256:
                raise GameError(f"{path}: its game file {entry.file} is damaged or was changed")
    return kept


def _parse(line: str, where: str, folder: Path) -> ManifestEntry:
    try:
        data = parse_json(line, where)
    except GameError:
        raise GameError(f"{where}: not JSON") from None
    if not isinstance(data, dict) or set(data) != set(KEYS):
        raise GameError(f"{where}: expected an object with exactly the keys {', '.join(KEYS)}")
    for key in KEYS:
        kind = TYPES.get(key, str)
        if type(data[key]) is not kind:
            raise GameError(f"{where}: {key}: expected {kind.__name__}, got {type(data[key]).__name__}")
    if data["split"] not in SPLITS:
        raise GameError(f"{where}: split: expected one of {', '.join(SPLITS)}, got {data['split']!r}")
    name = data["file"]
    if Path(name).name != name or not name.endswith(".z8") or not name.isprintable():
        raise GameError(f"{where}: file: expected the name of a .z8 file in the same folder, got {name!r}")
    return ManifestEntry(**data, path=folder / name)
