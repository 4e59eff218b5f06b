"""Errors as one line on standard error, with an exit status.

The status is 2 for a user's mistake, 1 for a failure of the machine such as a full disk, and 130 for Ctrl-C. Bugs are
not caught, so that their tracebacks are shown.
"""

import errno
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from io import UnsupportedOperation
from typing import NoReturn

import typer

from experiments import protect_imports
from terminal import console

OUT_OF_MEMORY = "the memory is full, or a limit of this process is reached; finished work is kept; give it more memory"
DISK = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "not permitted",
    errno.ENOTDIR: "expected a folder, but this path leads through a file",
    errno.EEXIST: "expected a folder, but a file has this name",
    errno.EISDIR: "expected a file, but this is a folder",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOMEM: OUT_OF_MEMORY,
    errno.ENOENT: "no such file or folder",
    errno.EFBIG: "the file is too large for the limits of this process",
    errno.EMFILE: "too many open files",
    errno.ENFILE: "too many open files",
    errno.EIO: "the disk has a fault",
    errno.ELOOP: "the path is a loop of links",
    errno.ESTALE: "the network drive is gone",
}
GRACE = 2.0  # seconds in which threads may end by themselves
USERS_MISTAKES = (("games.errors", "GameError"), ("agents.protocol", "AgentError"), ("actde.errors", "OptimizerError"))


def run(app: Callable[..., object]) -> NoReturn:
    """Run the command line, and exit with its status."""
    protect_imports()
    try:
        status = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        fail(_command_line_error(error), error.exit_code)
    except typer.Abort:
        fail("stopped", 130)
    except _mistakes() as error:
        fail(str(error), 2)
    except BrokenExecutor as error:  # a worker process died
        fail(str(error), 1)
    except OSError as error:
        if error.errno not in DISK:
            raise
        if error.errno == errno.ENOSPC:  # discard the buffered output: writing it at exit would raise the same error
            with suppress(UnsupportedOperation):  # the stream is not a file
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        where = f": {error.filename}" if error.filename else ""
        fail(DISK[error.errno] + where, 1)
    except BaseException as error:  # out of memory, libraries raise classes of their own
        from games.errors import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        error.__traceback__ = None  # its frames hold memory
        fail(OUT_OF_MEMORY, 1, at_once=True)
    leave(status if isinstance(status, int) else 0)


def leave(status: int, *, at_once: bool = False) -> NoReturn:
    """Exit with this status, even if code of the user has started threads that do not end.

    If `at_once` is true, nothing is done that needs memory.
    """
    deadline = time.monotonic() + GRACE
    others = [each for each in threading.enumerate() if each is not threading.main_thread() and not each.daemon]
    for thread in others:
        thread.join(max(0.0, deadline - time.monotonic()))
    if running := [thread.name for thread in others if thread.is_alive()]:
        console.note(f"a thread of the game is still running and ends now: {running[0]}")
    if running or at_once:
        if "games.files" in sys.modules:
            sys.modules["games.files"].remove_scratch_folder()
        sys.stdout.flush()
        os._exit(status)
    sys.exit(status)


def fail(message: str, status: int, *, at_once: bool = False) -> NoReturn:
    """Print an error in one line, and exit with this status. Only the first process of a machine prints."""
    console.err.quiet = os.environ.get("LOCAL_RANK", "0") != "0"
    console.note(f"error: {' '.join(message.split())}")
    leave(status, at_once=at_once)


def _command_line_error(error: typer.TyperException) -> str:
    """Return the message of an error in the command line. If typer refused a value, the message ends with the value."""
    from pydantic import ValidationError

    message, cause = error.format_message(), error.__cause__
    refused = re.fullmatch(r"Invalid value for '(.+)': Input should be (.+?)(, unable to parse .+)?", message)
    if refused is None or not isinstance(cause, ValidationError):
        return message
    name, expected, not_a_number = refused.groups()
    value = cause.errors()[0]["input"]
    return f"{name} must be {expected}, got {repr(value) if not_a_number else value}"


def _mistakes() -> tuple[type[ValueError], ...]:
    """Return the error classes for users' mistakes. A package that has not been imported cannot have raised one."""
    return tuple(getattr(sys.modules[module], name) for module, name in USERS_MISTAKES if module in sys.modules)
