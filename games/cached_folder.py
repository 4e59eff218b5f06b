"""Build a folder in the cache. Build it again only if its sources or its files have changed."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from games.files import VARIABLE, atomic_folder, building, disk_errors, sha256
from games.untrusted_files import read_json

MANIFEST = "manifest.json"


def build_once(folder: Path, is_intact: Callable[[], bool], build: Callable[[Path], None]) -> None:
    """Call `build` to fill `folder`, unless `is_intact()` returns True. One process builds while the others wait.

    `build` receives an empty temporary folder, which replaces `folder` unless `build` raises.
    """
    if not is_intact():
        with building(folder):
            if not is_intact():  # another process may have built it meanwhile
                with atomic_folder(folder) as work:
                    build(work)


def build_from(folder: Path, origin: Mapping[str, str], build: Callable[[Path], None]) -> Path:
    """Call `build` to fill `folder` if the folder is missing, or if its files or `origin` have changed.

    `origin` holds names and hashes of the sources. Return `folder`. Raise FilesError if it cannot be written.
    """

    def build_with_manifest(work: Path) -> None:
        build(work)
        manifest = {"origin": dict(origin), "files": _hashes(work)}
        (work / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")

    with disk_errors(f"write the cache {folder.parent}", f"set {VARIABLE} to a writable folder with enough space"):
        build_once(folder, lambda: is_built_from(folder, origin), build_with_manifest)
    return folder


def is_built_from(folder: Path, origin: Mapping[str, str]) -> bool:
    """Return whether the folder's manifest holds this `origin` and the current hash of every file in the folder."""
    try:
        return bool(read_json(folder / MANIFEST) == {"origin": dict(origin), "files": _hashes(folder)})
    except (OSError, ValueError):
        return False


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}
