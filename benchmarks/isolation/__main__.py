"""Check that no command executes code that the user did not name, and that none opens a network connection.

    python -m benchmarks.isolation --out benchmarks/isolation.json

All processes run in a network namespace without interfaces, and strace lists their attempts to connect. There are two
parts:

* `starts`: every command starts in two folders, of which one also contains a planted module for every name that a
  library may import. A command is *exact* if its output and its figures are the same in both. It is *refused* if it is
  expected to fail and prints the same one-line error in both.
* `content`: the files of runs, models and games name foreign code or models of the Hugging Face hub (`hostile.py`). A
  command is *exact* if its output equals that for the intact files. It is *refused* if it ends with status 1 or 2 and
  one error line.

A command *failed* if foreign code was executed, if a process tried to connect to another machine (or to its own, unless
the result says why), or if it is neither exact nor refused. The exit status is 1 if any command failed. Only commands
without results in the file of --out run, and those that failed. Needs strace, unshare and ip.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.faults import cases
from benchmarks.isolation import hostile, places, traced
from benchmarks.isolation.starts import STARTS

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("starts", "content")
Rows = dict[str, dict[str, Any]]


def main(arguments: Sequence[str] | None = None) -> int:
    options = harness.parser(
        __doc__,
        timed=False,
        parts=(",".join(PARTS), "parts to run, separated by commas"),
        only=(str, "names of commands, separated by semicolons"),
        work=(Path, "folder of all files, which is kept"),
    ).parse_args(arguments)
    stored = harness.read(options.out)
    rows: dict[str, Rows] = {part: stored.get(part, {}) for part in PARTS}
    names = options.only.split(";") if options.only else None
    base = options.work or Path(tempfile.mkdtemp())
    base.mkdir(exist_ok=True)

    def done(part: str, name: str, row: dict[str, Any]) -> None:
        rows[part][name] = row
        print(json.dumps({name: row}), flush=True)
        harness.report("isolation", options, arguments, total=totals(rows), **rows)

    if "starts" in options.parts:
        both = [places.Place(base, name) for name in places.FOLDERS]
        scripts = traced.scripts(base / "bin")
        for name in names or STARTS:
            if rows["starts"].get(name, {}).get("outcome") in (None, "failed"):
                done("starts", name, places.outcome(STARTS[name], both, scripts))
    if "content" in options.parts:
        for name, row in hostile_rows(base / "content", [*rows["content"]], names):
            done("content", name, row)
    if options.work is None:
        shutil.rmtree(base)
    print(json.dumps(totals(rows)))
    return int(any(counts["failed"] for counts in totals(rows).values()))


def hostile_rows(base: Path, known: Sequence[str], names: Sequence[str] | None) -> list[tuple[str, dict[str, Any]]]:
    """Run the cases of `hostile.py`, except those in `known`. Return a list of tuples (name of the case, result)."""
    shutil.rmtree(base, ignore_errors=True)
    base.mkdir()
    hostile.install(base / "installed", base / "record")
    environment = traced.environment(PYTHONPATH=os.pathsep.join([str(ROOT), str(base / "installed")]))
    chosen = [name for name in hostile.cases() if name not in known and (names is None or name in names)]
    (base / "names").write_text(json.dumps(chosen))
    log = base / "strace"
    command = [sys.executable, "-P", "-m", "benchmarks.isolation.forked", str(base), str(log)]
    ended = traced.run(command, base, environment, log, seconds=30 * 60)
    rows = [json.loads(line) for line in ended.out.splitlines()]
    if ended.status or len(rows) != len(chosen):
        rows.append(["the command of the cases", {"outcome": "failed", "wrong": [ended.err[-3000:]]}])
    return [(name, row) for name, row in rows]


def totals(rows: Mapping[str, Rows]) -> dict[str, dict[str, int]]:
    """Return the number of commands in each part as `tried`, and the number with each outcome."""
    return {part: cases.counts(row["outcome"] for row in rows[part].values()) for part in PARTS}


if __name__ == "__main__":
    sys.exit(main())
