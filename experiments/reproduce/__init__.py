"""The post, reproduced: its numbers, figures and claims beside what we measure, part by part.

A part is a module with `run(seed, quick, folder, workers, progress) -> Outcome`; it measures, writes its figures
into `folder` and returns findings, but no text about itself. `report.py` makes the report of all parts that were
run. This file imports nothing heavy, so that the command line can name the parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from agents.protocol import AgentError

if TYPE_CHECKING:
    from experiments.reproduce.finding import Finding

PARTS = {
    "bandit": "experiments.reproduce.bandit",
    "ipd": "experiments.reproduce.ipd",
    "sensitivity": "experiments.reproduce.sensitivity",
}
"""Name of a part -> its module, in the post's order. Ids of a part's findings begin with its name and a dot."""
ALL = "all"

Progress = Callable[[str, float, float], None]
"""Told what is going on, how much is done and of how much, in any unit; may be called often."""


class Outcome(NamedTuple):
    """What a part found."""

    findings: Sequence[Finding]
    figures: Mapping[str, Sequence[tuple[str, str]]] = {}
    """Section of the report -> (name of a file in the report's folder, caption)."""
    notes: Mapping[str, Sequence[str]] = {}
    """Section -> paragraphs of Markdown below its table; their numbers are formatted from what was measured."""
    seconds: float | None = None
    """Processor time, of a part that may take several commands; None: as long as this command took."""


class Part(Protocol):
    def __call__(self, *, seed: int, quick: bool, folder: Path, workers: int, progress: Progress) -> Outcome: ...


def chosen(name: str) -> list[str]:
    """The parts that a name stands for.

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
