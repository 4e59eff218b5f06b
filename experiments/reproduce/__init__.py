"""The post's numbers, figures and claims beside our measurements, in parts.

A part is a module whose function `run` measures, writes its figures into `folder` and returns an `Outcome`.
`report.py` writes the report of all parts that were run. This file imports nothing heavy, so that the command line can
list the parts quickly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from agents.protocol import AgentError

if TYPE_CHECKING:
    from experiments.reproduce.finding import Finding, Section

PARTS = {
    "bandit": "experiments.reproduce.bandit",
    "ipd": "experiments.reproduce.ipd",
    "sensitivity": "experiments.reproduce.sensitivity",
}
"""Name of a part -> its module, in the post's order. Ids of a part's findings begin with its name and a dot."""
ALL = "all"

Progress = Callable[[str, float, float], None]
"""Called, perhaps often, with the current activity, the work done and the total work in any unit."""


class Outcome(NamedTuple):
    """The results of a part."""

    findings: Sequence[Finding]
    figures: Mapping[Section, Sequence[tuple[str, str]]] = {}
    """Section of the report -> (name of a file in the report's folder, caption)."""
    notes: Mapping[Section, Sequence[str]] = {}
    """Section -> paragraphs of Markdown below its table; their numbers are formatted from measurements."""
    seconds: float | None = None
    """Processor time of a part that can take several commands; None: this command's wall time is the cost."""


class Part(Protocol):
    def __call__(self, *, seed: int, quick: bool, folder: Path, workers: int, progress: Progress) -> Outcome: ...


def part_names(name: str) -> list[str]:
    """The parts that a name selects: one, or all of them for "all".

    Raises:
        AgentError: there is no such part.
    """
    if name == ALL:
        return list(PARTS)
    if name not in PARTS:
        from games.errors import nearest

        raise AgentError(f"reproduce has no part {name!r}; {nearest(name, [*PARTS, ALL])}")
    return [name]


def load(name: str) -> Part:
    """The function that runs a part."""
    return cast(Part, import_module(PARTS[name]).run)
