"""Locks, atomic writes, JSON Lines, temporary folders and hashes of files."""

import atexit
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from games.errors import PATH_ERRNOS, FilesError, PathError, add_path_to_errors, is_user_error, noticing_changes, reason

if TYPE_CHECKING:
    from filelock import FileLock

VARIABLE = "ACTDE_CACHE"
LOCK = ".lock"
TEMPORARY = re.compile(r"\.(?P<name>.+)-\d+-[0-9a-f]{8}(?P<old>\.old)?")
SCRATCH_PREFIX = "actde-"
# process id -> (scratch folder, its lock). A forked process also has a copy of its parent's entry.
_SCRATCH_FOLDERS: dict[int, tuple[Path, "FileLock"]] = {}


def cache_folder(name: str) -> Path:
    """Return the path of the folder `name` in the cache."""
    if root := os.environ.get(VARIABLE):
        return Path(root).expanduser().absolute() / name
    from platformdirs import user_cache_path

    return user_cache_path("actde", appauthor=False) / name


@contextmanager
def disk_errors(action: str, advice: str) -> Iterator[None]:
    """Convert an OSError to FilesError if the user can remove the cause. The message contains `action` and `advice`."""
    try:
        yield
    except OSError as error:
        if not is_user_error(error):
            raise
        location = f" ({error.filename})" if error.filename else ""
        raise FilesError(f"cannot {action}: {reason(error)}{location}; {advice}") from error


def create_folder(folder: Path) -> None:
    """Create an output folder and its parents. Raise PathError if the folder or a parent is a file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno not in PATH_ERRNOS:
            raise
        if error.errno == errno.ENOENT:
            raise FilesError(f"{folder} cannot be created: {reason(error)}; choose another folder") from None
        raise PathError(error.errno, error.strerror, error.filename) from None


def file_lock(path: Path, *, process_wide: bool = False) -> "FileLock":
    """Return a lock that excludes other processes and, unless `process_wide` is true, other threads."""
    from filelock import FileLock

    # no fallback to a soft lock, which would outlive a killed process
    return FileLock(path, is_singleton=process_wide, thread_local=not process_wide, fallback_to_soft=False)


def is_locked(path: Path) -> bool:
    """Return whether any process holds the lock `file_lock(path)`."""
    import fcntl

    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # there is no lock, or it belongs to someone else
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # the file system has no locks
        return False
    finally:
        os.close(file)
    return False


@contextmanager
def exclusive(folder: Path, *names: str, wait: bool = False) -> Iterator[None]:
    """Lock an output folder, or only the files `names` in the folder.

    If another process holds the lock, wait if `wait` is true, otherwise raise FilesError.
    """
    is_new = not folder.exists()
    create_folder(folder)
    # the first name identifies the lock
    lock = file_lock(folder / (f".{names[0]}{LOCK}" if names else LOCK), process_wide=True)
    try:
        lock.acquire(blocking=wait)
    except TimeoutError:
        busy = folder.joinpath(*names[:1])
        raise FilesError(f"another process is writing {busy}; wait for it, stop it, or choose another --out") from None
    try:
        if lock.lock_counter == 1:
            remove_leftovers(folder, *names)
            remove_dead_scratch_folders()
        with noticing_changes(folder):
            yield
    finally:
        if lock.lock_counter == 1:
            Path(lock.lock_file).unlink(missing_ok=True)  # a process that waits for this lock creates the file again
            if is_new and folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        lock.release()


@contextmanager
def building(path: Path) -> Iterator[None]:
    """Inside the `with` block, lock `path` against other processes and threads."""
    create_folder(path.parent)
    with file_lock(path.with_name(f".{path.name}{LOCK}")), noticing_changes(path.parent):
        remove_leftovers(path.parent, path.name)
        yield


def is_temporary(path: Path) -> bool:
    """Return whether a path has the name of a temporary file."""
    return TEMPORARY.fullmatch(path.name) is not None


def remove_leftovers(folder: Path, *names: str) -> None:
    """Remove temporary files of the outputs `names`, by default of all outputs. The caller must hold the lock."""
    for path in list(folder.iterdir()) if folder.is_dir() else ():
        match = TEMPORARY.fullmatch(path.name)
        if match is None or (names and match["name"] not in names):
            continue
        if match["old"] and not (folder / match["name"]).exists():
            path.rename(folder / match["name"])  # `atomic_folder` was killed between its two renames
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def sync(path: Path) -> None:
    """Flush a file, or a folder and all its files, to the disk."""
    for entry in path.iterdir() if path.is_dir() else ():
        sync(entry)
    _sync_one(path)


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with add_path_to_errors(path):
            os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network drives cannot flush folders
            raise
    finally:
        os.close(descriptor)


def atomic_write(path: Path, content: bytes | str | Iterable[str]) -> None:
    """Write a file atomically. After a crash, the file has either the old or the new content."""
    if path.is_dir():
        raise PathError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with _replacing(path) as temporary, temporary.open("xb") as file:
        for chunk in [content] if isinstance(content, bytes | str) else content:
            file.write(chunk.encode() if isinstance(chunk, str) else chunk)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces `path` if the `with` block succeeds."""
    with _replacing(path) as temporary:
        temporary.mkdir(parents=True)
        yield temporary


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path. The file or folder there replaces `path` if the `with` block succeeds."""
    temporary = path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with add_path_to_errors(path):
            yield temporary
            sync(temporary)
            if temporary.is_dir() and path.exists():
                _replace_folder(path, temporary)
            else:
                temporary.replace(path)
            _sync_one(path.parent)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def _replace_folder(path: Path, new: Path) -> None:
    old = new.with_name(f"{new.name}.old")
    path.rename(old)
    try:
        new.rename(path)
    except BaseException:
        old.rename(path)
        raise
    shutil.rmtree(old)


def scratch_folder() -> Path:
    """Return the folder for this process's temporary files."""
    if (process_id := os.getpid()) not in _SCRATCH_FOLDERS:
        remove_dead_scratch_folders()
        folder = Path(tempfile.gettempdir()) / f"{SCRATCH_PREFIX}{secrets.token_hex(8)}"
        lock = file_lock(folder.with_suffix(LOCK), process_wide=True)
        lock.acquire()
        folder.mkdir(mode=0o700)
        atexit.register(remove_scratch_folder)
        _SCRATCH_FOLDERS[process_id] = folder, lock
    return _SCRATCH_FOLDERS[process_id][0]


def remove_dead_scratch_folders() -> None:
    with suppress(OSError):  # there is no temporary folder, for example because the disk is full
        for path in Path(tempfile.gettempdir()).glob(f"{SCRATCH_PREFIX}*{LOCK}"):
            with suppress(OSError):  # TimeoutError: the process is running
                if path.stat().st_uid == os.getuid():
                    with file_lock(path).acquire(blocking=False):
                        shutil.rmtree(path.with_suffix(""), ignore_errors=True)
                        path.unlink()


def remove_scratch_folder() -> None:
    if entry := _SCRATCH_FOLDERS.pop(os.getpid(), None):
        shutil.rmtree(entry[0], ignore_errors=True)
        entry[0].with_suffix(LOCK).unlink(missing_ok=True)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_hash(value: object) -> str:
    """Return the SHA-256 of a JSON value. The order of the keys has no effect."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def json_lines(rows: Iterable[object]) -> str:
    return "".join(json.dumps(row, allow_nan=False, ensure_ascii=False) + "\n" for row in rows)


def append_rows(path: Path, rows: Iterable[object]) -> None:
    """Append rows to a JSON Lines file. If writing fails, the file is unchanged."""
    text = json_lines(rows)
    with add_path_to_errors(path), path.open("ab", buffering=0) as file:
        size_before, unwritten = file.tell(), memoryview(text.encode())
        try:
            while unwritten:
                unwritten = unwritten[file.write(unwritten) :]
        except OSError:
            file.truncate(size_before)
            raise
