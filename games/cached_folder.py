"""Folders in the cache that are built again only after a change."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from games.files import VARIABLE, atomic_folder, building, disk_errors, sha256
from games.untrusted_files import read_json

MANIFEST = "manifest.json"


def build_once(folder: Path, is_intact: Callable[[], bool], build: Callable[[Path], None]) -> None:
    """Fill `folder` with `build`, unless `is_intact()`. Other processes wait meanwhile."""
    if not is_intact():
        with building(folder):
            if not is_intact():  # another process may have built it meanwhile
                with atomic_folder(folder) as work:
                    build(work)


def build_from(folder: Path, origin: Mapping[str, str], build: Callable[[Path], None]) -> Path:
    """Fill `folder` with `build`, unless it is up to date. `origin` holds the hashes of its sources."""

    def build_with_manifest(work: Path) -> None:
        build(work)
        manifest = {"origin": dict(origin), "files": _hashes(work)}
        (work / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")

    with disk_errors(f"write the cache {folder.parent}", f"set {VARIABLE} to a writable folder with enough space"):
        build_once(folder, lambda: is_built_from(folder, origin), build_with_manifest)
    return folder


def is_built_from(folder: Path, origin: Mapping[str, str]) -> bool:
    """Return whether the manifest holds this `origin` and the hash of every file."""
    try:
        return bool(read_json(folder / MANIFEST) == {"origin": dict(origin), "files": _hashes(folder)})
    except (OSError, ValueError):
        return False


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}
