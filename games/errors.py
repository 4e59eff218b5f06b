"""Exceptions for user errors, messages of errors, and suggestions for misspelled names."""

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
OF_PATHS = {errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR}
RUST_ERROR = re.compile(r"\(os error (?P<errno>[0-9]+)\)")


class GameError(ValueError):
    """A user error that concerns a game. Its message is one line."""


class FatalGameError(GameError):
    """An error that every later episode would raise again. Training or play must stop."""


class ScorerError(FatalGameError):
    """A reward function failed."""


class FilesError(GameError):
    """A file or folder cannot be read or written."""


class PathError(OSError):
    """An output path is unusable: it is a file instead of a folder, a folder instead of a file, or a removed folder."""


class EpisodeError(GameError):
    """An environment failed in one episode. The next episode may succeed.

    Failures with the same cause, such as a reward that is not finite, have the same `kind`.
    """

    def __init__(self, message: str, *, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


def first_line(error: object) -> str:
    """Return the first line of an error's message. If the message is empty, return the name of the error's class.

    If the first line ends in a colon, append the other lines.
    """
    first, *others = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join([first, *map(str.strip, others)]).removesuffix(":") if first.endswith(":") else first


def described(error: BaseException, *, all_lines: bool = False) -> str:
    """Return the class of an exception and its message, as one line of printable characters.

    By default, include only the first line of the message, because libraries add advice after it.
    """
    message = "an error without a message"
    with suppress(Exception):  # `str` of a user's exception class may raise anything
        has_message = str(error).strip() and error.args != (None,)
        message = (str(error) if all_lines else first_line(error)) if has_message else ""
    if len(message) > MAX_MESSAGE:
        message = f"{message[:MAX_MESSAGE]}..."
    line = " ".join(f"{type(error).__name__}: {message}".split()).removesuffix(":")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def reason(error: OSError) -> str:
    """Return why a file cannot be read or written: `strerror`, or the message if there is no `strerror`."""
    return error.strerror or str(error) or type(error).__name__


def is_users(error: OSError) -> bool:
    """Return whether the user can solve an error, such as a full disk. Otherwise, the error is a bug in this project.

    An `errno` in `OF_PATHS`, such as that of a missing file, counts as a bug unless the error is a `PathError`.
    """
    return isinstance(error, PathError) or error.errno not in OF_PATHS


@contextmanager
def noticing_changes(folder: Path) -> Iterator[None]:
    """Convert an OSError from the block to a PathError if another program has changed `folder`.

    Such a change removes `folder`, replaces a file in it by a folder, or replaces a folder in it by a file.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in OF_PATHS:
            raise
        if not folder.is_dir():
            raise PathError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder)) from error
        if error.errno == errno.ENOENT or not Path(str(error.filename)).is_relative_to(folder):
            raise
        raise PathError(error.errno, error.strerror, error.filename) from error


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """If an OSError from the block names no file, such as that of a full disk, set its file name to `path`.

    If a Rust library raises an exception whose message contains an `os error` number, convert it to an OSError.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise
    except ValueError:  # a user's mistake, whose message may quote such an exception
        raise
    except Exception as error:  # the class depends on the library
        if (found := RUST_ERROR.search(str(error))) is None:
            raise
        number = int(found["errno"])
        raise OSError(number, os.strerror(number), str(path)) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error was raised because the memory was full.

    PyTorch, Python's threads, the loader of libraries and Rust libraries do not raise MemoryError. Their errors are
    recognized by their messages.
    """
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return not isinstance(error, OSError) and any(text in str(error).lower() for text in OUT_OF_MEMORY)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a suggestion to append to an error message. It is empty if no known name is close to `word`.

    >>> did_you_mean("treasur", ["coin", "treasure"])
    "; did you mean 'treasure'?"
    """
    close = difflib.get_close_matches(word, sorted(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint for an error message: the nearest known name, or all known names if none is close to `word`.

    >>> nearest("treasur", ["coin", "treasure"])
    "did you mean 'treasure'?"
    >>> nearest("xyz", ["coin", "treasure"])
    'known are: coin, treasure'
    """
    names = sorted(known)
    return did_you_mean(word, names).removeprefix("; ") or f"known are: {', '.join(names)}"
