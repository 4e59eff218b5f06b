"""Checks of a run before it is resumed."""

from collections.abc import Iterable
from pathlib import Path

from agents.config import BudgetConfig
from agents.protocol import AgentError
from agents.storage.checkpoint import FOLDER, STATE, read_json
from games import GameSpec
from games.input_digests import input_digests


def excess_iterations(path: Path, finished: int, budget: BudgetConfig) -> str | None:
    """Return an error message if a run has finished more iterations than its budget allows, or None otherwise."""
    if finished <= budget.iterations:
        return None
    expected = f"expected --iterations {finished} or more, got {budget.iterations}"
    return f"the run in {path} has finished {finished} iterations: {expected}"


def changed_input(path: Path, finished: int, specs: Iterable[GameSpec]) -> str | None:
    """Return a sentence about a change of the files of the games since a checkpoint of a run, or None.

    Only the content of the files counts, not their place, so that a project can be moved.

    Args:
        path: the folder of the run.
        finished: the number of finished iterations at the checkpoint. Before the first iteration, the result is None.
        specs: the games of the run.

    A checkpoint of an earlier version names no files. A damaged checkpoint is reported when it is loaded. In both
    cases, the result is None.
    """
    try:
        stored = read_json(path / FOLDER / f"{finished:06d}" / STATE).get("input_files") if finished else None
    except AgentError:
        stored = None
    if not isinstance(stored, dict):
        return None
    present = input_digests(specs)
    lost = {Path(name).name for name, digest in stored.items() if digest not in present.values()}
    new = {Path(name).name for name, digest in present.items() if digest not in stored.values()}
    if not (names := sorted(lost & new or new | lost)):
        return None
    how = "has changed" if names[0] in lost & new else "is new" if names[0] in new else "is missing"
    more = f" (and {len(lost | new) - 1} more)" if len(lost | new) > 1 else ""
    what = f"{names[0]} {how}{more}"
    return f"since the newest checkpoint of {path}, the files of its games have changed: {what}"


def check_resumed(path: Path, finished: int, specs: Iterable[GameSpec], budget: BudgetConfig) -> None:
    """Raise `AgentError` if a run has finished more iterations than its budget, or if a file of its games has changed.

    The arguments are those of `changed_input`, and the budget of the run.
    """
    if excess := excess_iterations(path, finished, budget):
        raise AgentError(excess)
    if changed := changed_input(path, finished, specs):
        raise AgentError(f"{changed}; restore them, or start a new run with --init {path}")
