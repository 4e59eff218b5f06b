"""Exceptions for user errors, and helpers for error messages."""

import difflib
import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# phrases in lower case. An error whose message contains one of them counts as an out-of-memory error.
OUT_OF_MEMORY = (
    *("not enough memory", "can't allocate memory", "cannot allocate memory", "out of memory", "bad_alloc"),
    "pyobject pointer is null",  # of a library written in Rust
    *("failed to map segment", "can't start new thread", "resource temporarily unavailable"),
)
MAX_MESSAGE = 500  # maximum number of characters that `described` quotes from an exception's message
PATH_ERRNOS = {errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR}
RUST_ERROR = re.compile(r"\(os error (?P<errno>[0-9]+)\)")


class GameError(ValueError):
    """A user error that concerns a game. The message is one line."""


class FatalGameError(GameError):
    """A user error that would occur again in every later episode."""


class ScorerError(FatalGameError):
    """A reward function failed."""


class FilesError(GameError):
    """A file or folder cannot be read or written."""


class PathError(OSError):
    """An output path cannot be used, for example because it is a file instead of a folder."""


class EpisodeError(GameError):
    """An environment failed in one episode. Failures with the same cause have the same `kind`."""

    def __init__(self, message: str, *, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


def first_line(error: object) -> str:
    """Return the first line of an error's message. If the message is empty, return the class name."""
    first, *further_lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join([first, *map(str.strip, further_lines)]).removesuffix(":") if first.endswith(":") else first


def described(error: BaseException, *, all_lines: bool = False) -> str:
    """Return the class and the message of an exception as one printable line."""
    message = "an error without a message"
    with suppress(Exception):  # `str` of a user's exception class may raise anything
        has_message = str(error).strip() and error.args != (None,)
        message = (str(error) if all_lines else first_line(error)) if has_message else ""
    if len(message) > MAX_MESSAGE:
        message = f"{message[:MAX_MESSAGE]}..."
    line = " ".join(f"{type(error).__name__}: {message}".split()).removesuffix(":")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def reason(error: OSError) -> str:
    """Return the message of an OSError without the error number and the path."""
    return error.strerror or str(error) or type(error).__name__


def is_user_error(error: OSError) -> bool:
    """Return whether an error has a cause that the user can remove, such as a full disk."""
    return isinstance(error, PathError) or error.errno not in PATH_ERRNOS


@contextmanager
def noticing_changes(folder: Path) -> Iterator[None]:
    """Inside the `with` block, convert an OSError to PathError if another program has changed `folder`."""
    try:
        yield
    except OSError as error:
        if error.errno not in PATH_ERRNOS:
            raise
        if not folder.is_dir():
            raise PathError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder)) from error
        if error.errno == errno.ENOENT or not Path(str(error.filename)).is_relative_to(folder):
            raise
        raise PathError(error.errno, error.strerror, error.filename) from error


@contextmanager
def add_path_to_errors(path: Path) -> Iterator[None]:
    """Add `path` to OSErrors that have no file name. Convert operating-system errors of Rust libraries to OSError."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise
    except ValueError:  # a user's mistake, whose message may quote such an exception
        raise
    except Exception as error:  # the class depends on the library
        if (match := RUST_ERROR.search(str(error))) is None:
            raise
        error_number = int(match["errno"])
        raise OSError(error_number, os.strerror(error_number), str(path)) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error reports that the memory is full."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return not isinstance(error, OSError) and any(text in str(error).lower() for text in OUT_OF_MEMORY)


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """Return a hint that names the candidate most similar to `word`, or an empty text if none is similar."""
    matches = difflib.get_close_matches(word, sorted(candidates), n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def nearest(word: str, candidates: Iterable[str]) -> str:
    """Return a hint that names the candidate most similar to `word`, or all candidates if none is similar."""
    names = sorted(candidates)
    return did_you_mean(word, names).removeprefix("; ") or f"known are: {', '.join(names)}"
