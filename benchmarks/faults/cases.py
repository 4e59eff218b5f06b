"""Run cases of faults. A log makes an interrupted series resumable."""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from benchmarks import harness

VERDICTS = ("refused", "exact", "failed")
Counts = dict[str, Counter[str]]
"""Command -> verdict -> number of cases."""


class Case(Protocol):
    """A fault and a command."""

    @property
    def command(self) -> str: ...


C = TypeVar("C", bound=Case)


def parser(about: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of every series of cases: --only, --log and --out."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--only", type=harness.numbers, help="numbers of the cases, separated by commas")
    made.add_argument("--log", type=Path, help="JSON Lines with each case and its message; its cases are not repeated")
    made.add_argument("--out", type=Path, help="also write the counts here, as JSON")
    return made


def run(cases: Iterable[C], judge: Callable[[C], tuple[str, str]], options: argparse.Namespace, counts: Counts) -> None:
    """Run the cases that `options` select and the log lacks, and count their verdicts.

    Args:
        judge: runs a case, and returns its verdict and a message.
    """
    known = _logged(options.log)
    for number, case in enumerate(cases):
        if options.only is not None and number not in options.only:
            continue
        if (found := known.get(str(case))) is None:
            found, message = judge(case)
            if found == "failed":
                print(f"{number} {case}\n{message}\n", flush=True)
            if options.log is not None:
                with options.log.open("a") as log:
                    log.write(json.dumps([str(case), found, message]) + "\n")
        counts.setdefault(case.command, Counter())[found] += 1


def _logged(log: Path | None) -> dict[str, str]:
    """Return the verdicts in the log, by case. Failed cases are repeated."""
    if log is None or not log.exists():
        return {}
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return {case: found for case, found, _ in rows if found != "failed"}


def report(name: str, options: argparse.Namespace, arguments: Sequence[str] | None, counts: Counts) -> int:
    """Print the totals, write them to `--out`, and return the exit status: 1 if a case failed."""
    total = _row(sum(counts.values(), Counter()))
    print(json.dumps(total))
    rows = {command: _row(count) for command, count in counts.items()}
    harness.write(options.out, harness.document(f"faults.{name}", options, arguments, total=total, commands=rows))
    return int(total["failed"] > 0)


def _row(count: Mapping[str, int]) -> dict[str, int]:
    return {"tried": sum(count.values()), **{name: count.get(name, 0) for name in VERDICTS}}
