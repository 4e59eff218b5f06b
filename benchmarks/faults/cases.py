"""Run a series of cases, count their outcomes, and continue an interrupted series.

A case is a fault and the command that it is injected into. Its outcome is "refused", "exact" or "failed". The module
docstring of each benchmark states the conditions for these outcomes.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from benchmarks import harness

OUTCOMES = ("refused", "exact", "failed")


class Case(Protocol):
    """A fault and the command that it is injected into."""

    @property
    def command(self) -> str: ...


C = TypeVar("C", bound=Case)


def parser(about: str | None, **options: tuple[Any, str]) -> argparse.ArgumentParser:
    """Return a parser with `options` and the options of every series of cases: --only and --out."""
    return harness.parser(
        about,
        timed=False,
        only=(harness.numbers, "numbers of the cases, separated by commas"),
        out=(Path, "also write the counts here, as JSON; continues the series in this file"),
        **options,
    )


def counts(outcomes: Iterable[str]) -> dict[str, int]:
    """Return the number of cases as `tried`, and the number of cases with each outcome."""
    found = Counter(outcomes)
    return {"tried": found.total(), **{name: found[name] for name in OUTCOMES}}


class Series:
    """A series of cases, counted by command in the file of --out. `report` deletes the temporary folder `root`."""

    def __init__(self, name: str, options: argparse.Namespace, arguments: Sequence[str] | None) -> None:
        self._name, self._options, self._arguments = name, options, arguments
        self.root = Path(tempfile.mkdtemp(prefix=f"{name}-"))  # a TemporaryDirectory would end with a forked process
        stored = {} if options.only else harness.read(options.out)
        self._counts = {command: Counter(row) for command, row in stored.get("commands", {}).items()}
        self._failures: dict[str, str] = stored.get("failures", {})
        self._seen = Counter[str]()
        self._stored = Counter({command: row["tried"] for command, row in self._counts.items()})

    def run(self, cases: Iterable[C], check: Callable[[C], tuple[str, str]]) -> None:
        """Run the cases that --only selects. Without --only, run those that --out does not count or that failed.

        `check` runs a case, and returns a tuple (outcome, message). A case that raises TimeoutError has failed.
        """
        for number, case in enumerate(cases):
            self._seen[case.command] += 1
            is_stored = self._seen[case.command] <= self._stored[case.command]
            has_failed = self._failures.pop(str(case), None) is not None
            if (is_stored and not has_failed) or (self._options.only and number not in self._options.only):
                continue
            try:
                outcome, message = check(case)
            except (TimeoutError, subprocess.TimeoutExpired) as error:
                outcome, message = "failed", str(error)
            print(f"{number} {case}: {outcome}: {message}", flush=True)
            row = self._counts.setdefault(case.command, Counter())
            row["tried"] += not has_failed
            row["failed"] -= has_failed
            row[outcome] += 1
            if outcome == "failed":
                self._failures[str(case)] = message
            self._write()

    def _write(self) -> None:
        rows = {command: {name: row[name] for name in ("tried", *OUTCOMES)} for command, row in self._counts.items()}
        results = {"total": self.total, "commands": rows, "failures": self._failures}
        harness.report(f"faults.{self._name}", self._options, self._arguments, **results)

    @property
    def total(self) -> dict[str, int]:
        """The number of cases as `tried`, and the number of cases with each outcome."""
        return {name: sum(row[name] for row in self._counts.values()) for name in ("tried", *OUTCOMES)}

    def report(self) -> int:
        """Print the totals. Return the exit status, which is 1 if a case failed, and 0 otherwise."""
        shutil.rmtree(self.root)
        print(json.dumps(self.total))
        return int(self.total["failed"] > 0)
