"""Where generated games live, and how a file or folder appears there whole or not at all. No game logic."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from games.errors import GameError

VARIABLE = "ACTDE_CACHE"


def cache_folder(name: str) -> Path:
    """The folder `name` in the user's cache; the environment variable ACTDE_CACHE names another cache."""
    root = os.environ.get(VARIABLE)
    if root:
        return Path(root).expanduser().absolute() / name
    from platformdirs import user_cache_path

    return user_cache_path("actde", appauthor=False) / name


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, so that of several processes one at a time is inside; freed by a crash."""
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def whole_folder(final: Path) -> Iterator[Path]:
    """An empty folder to fill; it becomes `final` when the block ends well, and vanishes when it does not."""
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=final.parent))
    try:
        yield temporary
        temporary.replace(final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that readers see the old one or the whole new one."""
    temporary = path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def disk_errors(doing: str, advice: str) -> Iterator[None]:
    """Turn a full or read-only disk into a GameError in one line."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise GameError(f"cannot {doing}: {error.strerror or error}{where}; {advice}") from error
