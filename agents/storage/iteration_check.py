"""The check that a run is not resumed with fewer iterations than it has finished."""

from pathlib import Path

from agents.config import BudgetConfig
from agents.protocol import AgentError


def excess_iterations(path: Path, finished: int, budget: BudgetConfig) -> str | None:
    """Return a sentence that says that a run has finished more iterations than its budget, or None if it has not."""
    if finished <= budget.iterations:
        return None
    expected = f"expected --iterations {finished} or more, got {budget.iterations}"
    return f"the run in {path} has finished {finished} iterations: {expected}"


def check_iterations(path: Path, finished: int, budget: BudgetConfig) -> None:
    """Raise `AgentError` if a run has finished more iterations than its budget."""
    if excess := excess_iterations(path, finished, budget):
        raise AgentError(excess)
