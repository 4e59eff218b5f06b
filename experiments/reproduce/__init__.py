"""Reproduce the post by Turner and Einhorn (2023): compare its numbers, figures and claims with our measurements.

The reproduction is split into parts. Each part is a module with a function `run`, which takes the measurements, writes
its figures into `folder` and returns an `Outcome`. `report.py` writes one report for all parts that were run. This file
imports no large library, so that the command line can list the parts quickly.
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
"""The module of each part, in the post's order. The ids of a part's findings start with the part's name and a dot."""
ALL = "all"

Progress = Callable[[str, float, float], None]
"""A callback that reports progress, possibly many times per second.

The arguments are the current activity, the work done and the total work. Both amounts of work have the same unit,
which each part chooses.
"""


class Outcome(NamedTuple):
    """The results of a part."""

    findings: Sequence[Finding]
    figures: Mapping[Section, Sequence[tuple[str, str]]] = {}
    """The figures of each section of the report, as pairs (file name in the report's folder, caption)."""
    notes: Mapping[Section, Sequence[str]] = {}
    """The Markdown paragraphs below each section's table. Numbers in the paragraphs are formatted from measurements."""
    seconds: float | None = None
    """Total processor time, for a part that may need several commands.

    If None, the part finishes in one command, and the report shows the wall time of that command.
    """


class Part(Protocol):
    def __call__(self, *, seed: int, quick: bool, folder: Path, workers: int, progress: Progress) -> Outcome: ...


def part_names(name: str) -> list[str]:
    """Return a list of the names of the selected parts.

    `name` is the name of a part, or "all" for all parts.

    Raises:
        AgentError: No part has this name.
    """
    if name == ALL:
        return list(PARTS)
    if name not in PARTS:
        from games.errors import nearest

        raise AgentError(f"reproduce has no part {name!r}; {nearest(name, [*PARTS, ALL])}")
    return [name]


def load(name: str) -> Part:
    """Return the function that runs a part."""
    return cast(Part, import_module(PARTS[name]).run)
