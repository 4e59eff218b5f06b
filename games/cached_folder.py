"""Build folders in the cache, and rebuild a folder only after a change."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from games.files import VARIABLE, atomic_folder, building, disk_errors, sha256
from games.untrusted_files import read_json

MANIFEST = "manifest.json"


def build_once(folder: Path, is_intact: Callable[[], bool], build: Callable[[Path], None]) -> None:
    """Build `folder` under a lock, unless `is_intact()` returns True."""
    if not is_intact():
        with building(folder):
            if not is_intact():  # another process may have built it meanwhile
                with atomic_folder(folder) as temporary:
                    build(temporary)


def build_from(folder: Path, source_hashes: Mapping[str, str], build: Callable[[Path], None]) -> Path:
    """Return `folder`, after building it if `is_built_from` returns False."""

    def build_with_manifest(temporary: Path) -> None:
        build(temporary)
        manifest = {"origin": dict(source_hashes), "files": _hashes(temporary)}
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")

    with disk_errors(f"write the cache {folder.parent}", f"set {VARIABLE} to a writable folder with enough space"):
        build_once(folder, lambda: is_built_from(folder, source_hashes), build_with_manifest)
    return folder


def is_built_from(folder: Path, source_hashes: Mapping[str, str]) -> bool:
    """Return whether `folder` is unchanged since a build from sources with `source_hashes`."""
    try:
        return bool(read_json(folder / MANIFEST) == {"origin": dict(source_hashes), "files": _hashes(folder)})
    except (OSError, ValueError):
        return False


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}
