"""Reproduce the claims of the post by Turner and Einhorn (2023)."""

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
    """The results of one part of the reproduction."""

    findings: Sequence[Finding]
    figures: Mapping[Section, Sequence[tuple[str, str]]] = {}  # pairs (file name, caption)
    notes: Mapping[Section, Sequence[str]] = {}  # Markdown paragraphs
    seconds: float | None = None  # of processor time; if None, the report shows the wall time


class RunFunction(Protocol):
    def __call__(
        self, *, seed: int, quick: bool, folder: Path, workers: int | None, cluster: str | None, progress: Progress
    ) -> Outcome: ...


def part_names(name: str) -> list[str]:
    """Return the part names that `name` selects. Raise AgentError if `name` is unknown."""
    if name == ALL:
        return list(PARTS)
    if name not in PARTS:
        from games.errors import nearest

        raise AgentError(f"reproduce has no part {name!r}; {nearest(name, [*PARTS, ALL])}")
    return [name]


def load(name: str) -> RunFunction:
    return cast(RunFunction, import_module(f"experiments.reproduce.{name}").run)
