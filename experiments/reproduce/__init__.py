"""Reproduce the post by Turner and Einhorn (2023): compare its numbers, figures and claims with our measurements.

Each part of the reproduction is a module with a function `run`. This function runs the experiments, writes the figures
into `folder` and returns an `Outcome`. `report.py` writes one report for all parts that were run. This file imports no
large library, so the command line can list the parts quickly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from agents.protocol import AgentError

if TYPE_CHECKING:
    from experiments.reproduce.finding import Finding, Section

PARTS = ("bandit", "ipd", "sensitivity")  # in the post's order; each is a module, and the prefix of its findings' ids
ALL = "all"
Progress = Callable[[str, float, float], None]  # reports the current activity, the work done and the total work


class Outcome(NamedTuple):
    """The results of a part.

    Attributes:
        figures: pairs (file name in the report's folder, caption) for each section of the report.
        notes: Markdown paragraphs for each section. They follow the section's table.
        seconds: processor time of all trials, including those of earlier commands. If it is None, the report shows the
            wall time.
    """

    findings: Sequence[Finding]
    figures: Mapping[Section, Sequence[tuple[str, str]]] = {}
    notes: Mapping[Section, Sequence[str]] = {}
    seconds: float | None = None


class Part(Protocol):
    def __call__(
        self, *, seed: int, quick: bool, folder: Path, workers: int | None, cluster: str | None, progress: Progress
    ) -> Outcome: ...


def part_names(name: str) -> list[str]:
    """Return the selected parts. Raise AgentError if `name` is neither a part nor "all"."""
    if name == ALL:
        return list(PARTS)
    if name not in PARTS:
        from games.errors import nearest

        raise AgentError(f"reproduce has no part {name!r}; {nearest(name, [*PARTS, ALL])}")
    return [name]


def load(name: str) -> Part:
    """Return the function that runs a part."""
    return cast(Part, import_module(f"experiments.reproduce.{name}").run)
