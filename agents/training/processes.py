"""Decisions that the processes of a run share.

`gather_object` waits for all processes: each of them must call it at the same point. It joins their lists in the order
of their ranks.
"""

from collections.abc import Callable
from typing import TypeVar

from accelerate.utils import gather_object

from actde.errors import OptimizerError
from agents.protocol import AgentError
from games.errors import GameError

T = TypeVar("T")


def any_process(value: bool) -> bool:
    """Return whether the value is true in any process."""
    return any(gather_object([value]))


def in_all_processes(work: Callable[[], T]) -> T:
    """Return the result of `work`. If `work` raises an error in one process, raise this error in all processes.

    The error must be a user's mistake or an OSError, such as that of a full disk. If several processes raise errors,
    all raise that of the lowest rank, so that all handle the same error. Any other exception is a bug. Only the process
    with the bug raises it, and the launcher ends the others.
    """
    result, error = None, None
    try:
        result = work()
    except (GameError, AgentError, OptimizerError, OSError) as raised:
        error = raised
    first = next((other for other in gather_object([error]) if other is not None), None)
    if first is not None:
        raise first
    return result  # type: ignore[return-value]  # no error, so there is a result
