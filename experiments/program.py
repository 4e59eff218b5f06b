"""Run a program, and print errors and warnings as one line."""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from actde.errors import OptimizerError
from actde.warning_lines import shortened, warning_line
from agents.protocol import AgentError, DivergenceError
from games.errors import GameError, is_user_error, reason


def run(main: Callable[..., None]) -> NoReturn:
    """Call `main` with the arguments of the command line, and exit."""
    with one_line_errors():
        typer.run(main)
    sys.exit(0)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print every warning and error as one line.

    On an error, exit with status 2 (user error) or 1 (divergence or `OSError`).
    """
    previous_format, warnings.formatwarning = warnings.formatwarning, warning_line
    try:
        yield
    except (AgentError, GameError, OptimizerError) as error:
        _fail(str(error), 1 if isinstance(error, DivergenceError) else 2)
    except OSError as error:
        if not is_user_error(error):
            raise
        _fail(reason(error) + (f": {error.filename}" if error.filename else ""), 1)
    finally:
        warnings.formatwarning = previous_format


def _fail(message: str, status: int) -> NoReturn:
    sys.stderr.write(f"error: {shortened(' '.join(message.split()))}\n")
    sys.exit(status)
