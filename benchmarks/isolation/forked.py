"""Run the cases of `hostile.py` in processes that are forked after all imports.

`python -P -m benchmarks.isolation.forked FOLDER STRACE_OUTPUT` prints a line of JSON for each case whose name is in the
file FOLDER/names.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.faults import processes
from benchmarks.faults.files import without_times
from benchmarks.faults.result import Result
from benchmarks.isolation import hostile, traced

SECONDS = 120.0


def main() -> None:
    base, log = map(Path, sys.argv[1:])
    names = json.loads((base / "names").read_text())
    record, intact, folder = base / "record", base / "intact", base / "work"
    processes.prepare("torch", "transformers", "agents.training.factory", "agents.storage.checkpoint", "peft")
    hostile.prepare(intact)
    references: dict[Sequence[str], Result] = {}
    for name, case in hostile.cases().items():
        if name not in names:
            continue
        hostile.copy(intact, folder, record)
        for change in case.changes:
            change(folder, record)
        record.unlink(missing_ok=True)
        seen = log.stat().st_size
        result = processes.run(case.words, folder, seconds=SECONDS)
        tried = traced.connections(log.read_text(errors="replace")[seen:])
        executed = (record.read_text() or "a shell command") if record.exists() else ""
        if result.status == 0 and case.changes and case.words not in references:
            hostile.copy(intact, folder, record)
            references[case.words] = processes.run(case.words, folder, seconds=SECONDS)
        row = outcome(result, references.get(case.words), executed, tried)
        print(json.dumps([name, row]).replace(f"{folder}/", ""), flush=True)


def outcome(result: Result, reference: Result | None, executed: str, tried: Sequence[str]) -> dict[str, Any]:
    wrong = [f"executed: {executed}"] * bool(executed) + [f"connections: {', '.join(tried)}"] * bool(tried)
    exact = reference is not None and result.status == 0 and without_times(result.out) == without_times(reference.out)
    if "Traceback" in result.err or not (exact or result.is_refused):
        wrong.append(f"status {result.status}: {result.err[-1500:]} {result.out[:300]}")
    row = {"outcome": "failed" if wrong else "exact" if exact else "refused"}
    return row | ({"wrong": wrong} if wrong else {"message": result.last_line} if not exact else {})


if __name__ == "__main__":
    main()
