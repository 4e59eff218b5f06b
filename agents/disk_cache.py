"""The folder for what can be made again: converted models and the like, under the user's cache folder.

`built_once` makes a folder there exactly once, also when several processes want it at the same time, and
makes it again when it is damaged. What the content is, and what makes it valid, the caller knows.
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agents.protocol import AgentError

MANIFEST = "manifest.json"


def cache_folder() -> Path:
    """`ACTDE_CACHE` where that environment variable is set, else the user's cache folder of the system."""
    chosen = os.environ.get("ACTDE_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("actde", appauthor=False)


def built_once(folder: Path, origin: dict[str, str], build: Callable[[Path], None]) -> Path:
    """`folder`, complete and intact, made from `origin`.

    Args:
        folder: where the result lies; its parents are made.
        origin: what it is made from (names and hashes). Kept in the folder's manifest with the hash of every
            file; where either differs, the folder is made again.
        build: fills the empty folder that it is given.

    Raises:
        AgentError: the cache cannot be written. Whatever `build` raises passes, and leaves nothing behind.
    """
    if intact(folder, origin):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_name(folder.name + ".lock")):
            if not intact(folder, origin):  # nobody else has made it while we waited
                _replace(folder, origin, build)
    except OSError as error:
        raise AgentError(
            f"cannot write the cache {folder.parent}: {error.strerror or error}; "
            "set ACTDE_CACHE to a folder with room that you may write to"
        ) from error
    return folder


def intact(folder: Path, origin: dict[str, str]) -> bool:
    """Whether the folder was made from `origin` and every file in it still has its hash."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if not isinstance(manifest, dict) or manifest.get("origin") != origin:
            return False
        return bool(manifest.get("files") == _hashes(folder))
    except (OSError, ValueError):
        return False


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}


def _replace(folder: Path, origin: dict[str, str], build: Callable[[Path], None]) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=folder.name + ".", dir=folder.parent))
    try:
        build(temporary / "new")
        manifest: dict[str, Any] = {"origin": origin, "files": _hashes(temporary / "new")}
        (temporary / "new" / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        if folder.exists():
            folder.replace(temporary / "old")
        (temporary / "new").replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait for the file's lock; the system gives it back if the process dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
