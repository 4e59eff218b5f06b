"""`manifest.jsonl`: one line for each game of a curriculum. Reading is strict and verifies the game files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from games import files
from games.errors import GameError, nearest

NAME = "manifest.jsonl"
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestEntry:
    """One game of a curriculum, a line of its manifest."""

    file: str
    """Name of the `.z8` in the manifest's folder; the `.json` lies beside it."""
    family: str
    level: int
    seed: int
    """The game's own seed, as in `textworld:FAMILY?level=...&seed=...`."""
    split: str
    settings: dict[str, Any]
    """All settings of the family, presets included."""
    max_score: int
    """Game points."""
    walkthrough_length: int
    """Commands."""
    hash: str
    """Canonical hash of facts, names and quests (`games.textworld.generation.make_game.canonical_hash`)."""
    sha256: str
    """Of the bytes of the `.z8` followed by those of the `.json`."""
    path: Path = field(default=Path(), compare=False)
    """The `.z8`; not written to the manifest."""


KEYS = tuple(item.name for item in fields(ManifestEntry) if item.name != "path")
TYPES = {"level": int, "seed": int, "max_score": int, "walkthrough_length": int, "settings": dict}


def split_of(canonical: str) -> str:
    """The split a game belongs to, by its canonical hash alone: three fifths train, a fifth valid, a fifth test.

    Every family but cooking, which has foods and recipes of its own for each split.
    """
    return ("valid", "test", "train", "train", "train")[int(canonical[:8], 16) % 5]


def files_hash(story: Path) -> str:
    """Return the SHA-256 of a story followed by its record."""
    return hashlib.sha256(story.read_bytes() + story.with_suffix(".json").read_bytes()).hexdigest()


def write_manifest(folder: Path, entries: Iterable[ManifestEntry]) -> Path:
    """Write the manifest of `folder` atomically and return its path."""
    lines = [json.dumps({k: v for k, v in asdict(entry).items() if k in KEYS}) + "\n" for entry in entries]
    files.atomic_write(folder / NAME, "".join(lines))
    return folder / NAME


def load_manifest(path: Path, *, split: str | None = None) -> list[ManifestEntry]:
    """Return the games of a manifest in order, those of `split` if it is given.

    GameError for a malformed line, a missing file, or a file whose hash is not the recorded one.
    """
    if split is not None and split not in SPLITS:
        raise GameError(f"no split is called {split!r}; {nearest(split, SPLITS)}")
    with files.disk_errors("read the manifest", "is it readable?"):
        data = path.read_bytes()
        try:
            lines = data.decode().splitlines()
        except UnicodeDecodeError:
            raise GameError(f"{path}: not a manifest of games (it is not text)") from None
        entries = [_parse(line, f"{path}, line {at}", path.parent) for at, line in enumerate(lines, 1)]
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
        data = json.loads(line)
    except (ValueError, RecursionError):
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
