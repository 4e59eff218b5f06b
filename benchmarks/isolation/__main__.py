"""Check that no command executes code that the user did not name, and that none opens a network connection.

    python -m benchmarks.isolation --out benchmarks/isolation.json

All processes run in a network namespace without interfaces, and strace lists their attempts to connect. There are two
parts:

* `starts`: every command starts in two folders. The first contains only two files of the user's code. The second also
  contains a planted module for every name that a library may import. A command is *exact* if its output and its figures
  are the same in both folders. It is *refused* if it is expected to fail and prints the same one-line error in both.
* `content`: the files of runs, models and games name foreign code or models of the Hugging Face hub (`hostile.py`). A
  command is *exact* if its output equals that for the intact files. It is *refused* if it ends with one error line and
  a status of 1 or 2.

A command *failed* if foreign code was executed, if a process tried to connect to another machine (or to its own, unless
the result says why), or if it is neither exact nor refused. The exit status is 1 if any command failed. Commands whose
results are in the file of --out do not run again, unless they failed. Needs strace, unshare and ip.
"""

import argparse
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--only", help="names of commands, separated by semicolons")
    parser.add_argument("--out", type=Path, help="also write the results here, as JSON")
    parser.add_argument("--work", type=Path, help="folder of all files, which is kept")
    options = parser.parse_args(arguments)
    stored = json.loads(options.out.read_text()) if options.out and options.out.is_file() else {}
    rows: dict[str, Rows] = {part: stored.get(part, {}) for part in PARTS}
    names = options.only.split(";") if options.only else None
    base = options.work or Path(tempfile.mkdtemp())
    base.mkdir(exist_ok=True)

    def done(part: str, name: str, row: dict[str, Any]) -> None:
        rows[part][name] = row
        print(json.dumps({name: row}), flush=True)
        totals = {part: total(rows[part]) for part in PARTS}
        harness.write(options.out, harness.document("isolation", options, arguments, total=totals, **rows))

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
    print(json.dumps({part: total(rows[part]) for part in PARTS}))
    return int(any(total(rows[part])["failed"] for part in PARTS))


def hostile_rows(base: Path, known: Sequence[str], names: Sequence[str] | None) -> list[tuple[str, dict[str, Any]]]:
    """Run the cases of `hostile.py`, except those in `known`. Return a list of tuples (name of the case, result)."""
    shutil.rmtree(base, ignore_errors=True)
    base.mkdir()
    hostile.install(base / "installed", base / "record")
    environment = traced.environment(PYTHONPATH=os.pathsep.join([str(ROOT), str(base / "installed")]))
    chosen = [name for name, _ in hostile.cases() if name not in known and (names is None or name in names)]
    (base / "names").write_text(json.dumps(chosen))
    log = base / "strace"
    command = [sys.executable, "-P", "-m", "benchmarks.isolation.forked", str(base), str(log)]
    ended = traced.run(command, base, environment, log, seconds=30 * 60)
    rows = [json.loads(line) for line in ended.out.splitlines()]
    if ended.status or len(rows) != len(chosen):
        rows.append(["the command of the cases", {"outcome": "failed", "wrong": [ended.err[-3000:]]}])
    return [(name, row) for name, row in rows]


def total(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Return the number of commands as `tried`, and the number of commands with each outcome."""
    return cases.counts(row["outcome"] for row in rows.values())


if __name__ == "__main__":
    sys.exit(main())
