"""The cache folder, file locks, atomic writes and hashes of files."""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from games.errors import GameError

if TYPE_CHECKING:
    from filelock import FileLock

VARIABLE = "ACTDE_CACHE"
MANIFEST = "manifest.json"


class FilesError(GameError):
    """A file or folder cannot be read or written. The message is one line."""


def cache_folder(name: str) -> Path:
    """Return the path of the folder `name` in the cache folder. The variable ACTDE_CACHE can set the cache folder."""
    if root := os.environ.get(VARIABLE):
        return Path(root).expanduser().absolute() / name
    from platformdirs import user_cache_path

    return user_cache_path("actde", appauthor=False) / name


@contextmanager
def disk_errors(doing: str, advice: str) -> Iterator[None]:
    """Convert an OSError in the block, for example from a full disk, to a FilesError with a one-line message."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise FilesError(f"cannot {doing}: {reason(error)}{where}; {advice}") from error


def reason(error: OSError) -> str:
    """Return why a file cannot be read or written. Some errors have a message but no `strerror`."""
    return error.strerror or str(error) or type(error).__name__


def file_lock(path: Path, *, process_wide: bool = False) -> "FileLock":
    """Return a lock on the file `path`. If the process ends or is killed, the system releases the lock.

    `with file_lock(path):` waits for the lock. `.acquire(blocking=False)` raises TimeoutError if the lock is taken. The
    lock excludes other processes and threads. If `process_wide` is true, it excludes only other processes.
    """
    from filelock import FileLock

    # no fallback to a soft lock, which would outlive a killed process
    return FileLock(path, is_singleton=process_wide, thread_local=not process_wide, fallback_to_soft=False)


def atomic_write(path: Path, content: bytes | str) -> None:
    """Write a file atomically. Even after a crash, readers find either the old content or all of the new content."""
    work = _temporary(path)
    try:
        with work.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        work.replace(path)
    finally:
        work.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill. If the block succeeds, the filled folder replaces `path`.

    If the block fails, the new folder is deleted, and `path` stays as it is.
    """
    work = _temporary(path)
    work.mkdir(parents=True)
    try:
        yield work
        if not path.exists():
            work.rename(path)
            return
        old = work.with_name(f"{work.name}.old")
        path.rename(old)
        try:
            work.rename(path)
        except BaseException:
            old.rename(path)
            raise
        shutil.rmtree(old)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _temporary(path: Path) -> Path:
    """Return a hidden path beside `path` that no other process uses."""
    return path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}")


def build_once(folder: Path, is_intact: Callable[[], bool], build: Callable[[Path], None]) -> None:
    """Fill `folder` unless it is intact. If several processes call this function, one builds while the others wait.

    `build` receives an empty folder and fills it. If `build` raises, `folder` stays as it is.
    """
    if not is_intact():
        with file_lock(folder.with_name(f".{folder.name}.lock")):
            if not is_intact():  # another process may have built it meanwhile
                with atomic_folder(folder) as work:
                    build(work)


def build_from(folder: Path, origin: Mapping[str, str], build: Callable[[Path], None]) -> Path:
    """Fill `folder`, unless it was built from `origin` and no file in it has changed since then. Return `folder`.

    `origin` holds names and hashes of the sources. The folder's manifest stores `origin` and the hash of each file.
    Raise FilesError if the folder cannot be written.
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
        manifest: Any = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return bool(manifest == {"origin": dict(origin), "files": _hashes(folder)})
    except (OSError, ValueError):
        return False


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_hash(value: object) -> str:
    """Return the SHA-256 of a JSON value as hexadecimal digits. The order of the keys has no effect."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}
