"""Run a program of the experiments, and print a user's mistake as one line."""

import sys
from collections.abc import Callable
from typing import NoReturn

import typer

from actde.errors import OptimizerError
from agents.protocol import AgentError
from games.errors import GameError


def run(main: Callable[..., None]) -> NoReturn:
    """Call `main` with the arguments of the command line, and exit with its status. The status of an error is 2."""
    try:
        typer.run(main)
        sys.exit(0)
    except (AgentError, GameError, OptimizerError) as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        sys.exit(2)
