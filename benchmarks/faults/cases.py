"""Run a series of cases, count their outcomes, and continue an interrupted series.

A case is a fault and the command that it is injected into. Its outcome is "refused", "exact" or "failed". The module
docstring of each benchmark states the conditions for these outcomes.
"""

import argparse
import json
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


def parser(about: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of every series of cases: --only and --out."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--only", type=harness.numbers, help="numbers of the cases, separated by commas")
    made.add_argument("--out", type=Path, help="also write the counts here, as JSON; continues the series in this file")
    return made


def counts(outcomes: Iterable[str]) -> dict[str, int]:
    """Return the number of cases as `tried`, and the number of cases with each outcome."""
    found = Counter(outcomes)
    return {"tried": found.total(), **{name: found[name] for name in OUTCOMES}}


class Series:
    """A series of cases. The outcomes are counted by command, and the counts are stored in the file of --out.

    Args:
        name: name of the benchmark's module.
    """

    def __init__(self, name: str, options: argparse.Namespace, arguments: Sequence[str] | None) -> None:
        self._name, self._options, self._arguments = name, options, arguments
        continues = options.out is not None and options.out.exists() and options.only is None
        stored: dict[str, Any] = json.loads(options.out.read_text()) if continues else {}
        self._counts = {command: Counter(row) for command, row in stored.get("commands", {}).items()}
        self._failures: dict[str, str] = stored.get("failures", {})
        self._seen = Counter[str]()
        self._stored = Counter({command: row["tried"] for command, row in self._counts.items()})

    def run(self, cases: Iterable[C], check: Callable[[C], tuple[str, str]]) -> None:
        """Run the cases that `--only` selects. Without `--only`, run those that are new or have failed.

        A case is new if the file of `--out` does not count it yet.

        Args:
            check: runs a case, and returns a tuple (outcome, message).
        """
        for number, case in enumerate(cases):
            self._seen[case.command] += 1
            is_stored = self._seen[case.command] <= self._stored[case.command]
            has_failed = self._failures.pop(str(case), None) is not None
            if (is_stored and not has_failed) or (self._options.only and number not in self._options.only):
                continue
            outcome, message = check(case)
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
        harness.write(
            self._options.out,
            harness.document(f"faults.{self._name}", self._options, self._arguments, **results),
        )

    @property
    def total(self) -> dict[str, int]:
        """The number of cases as `tried`, and the number of cases with each outcome."""
        return {name: sum(row[name] for row in self._counts.values()) for name in ("tried", *OUTCOMES)}

    def report(self) -> int:
        """Print the totals. Return the exit status, which is 1 if a case failed, and 0 otherwise."""
        print(json.dumps(self.total))
        return int(self.total["failed"] > 0)
