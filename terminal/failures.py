"""Errors as one line on standard error, with an exit status.

The status is 2 for a user's mistake, 1 for a failure of the machine such as a full disk, and 130 for Ctrl-C. Bugs are
not caught, so that their tracebacks are shown.
"""

import errno
import os
import re
import sys
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from io import UnsupportedOperation
from typing import NoReturn

import typer

from experiments import protect_imports
from terminal import console
from terminal.texts import one_line

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
}
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
    sys.exit(status if isinstance(status, int) else 0)


def fail(message: str, status: int) -> NoReturn:
    """Print an error in one line, and exit with this status. Only the first process of a machine prints."""
    console.err.quiet = os.environ.get("LOCAL_RANK", "0") != "0"
    console.note(f"error: {one_line(message)}")
    sys.exit(status)


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
