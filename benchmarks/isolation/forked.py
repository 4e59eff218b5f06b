"""Run the cases of `hostile.py` in processes that are forked after all imports.

`python -P -m benchmarks.isolation.forked FOLDER STRACE_OUTPUT` prints a line of JSON for each case in FOLDER/names.
"""

import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.faults.scenarios import Outcome, without_times
from benchmarks.isolation import hostile, traced

SECONDS = 120.0


def main() -> None:
    base, log = Path(sys.argv[1]), Path(sys.argv[2])
    names = json.loads((base / "names").read_text())
    mark, intact = base / "mark", base / "intact"
    hostile.prepare(intact)
    for module in ("cli", "torch", "transformers", "agents.training.factory", "agents.storage.checkpoint", "peft"):
        importlib.import_module(module)
    usual: dict[Sequence[str], Outcome] = {}
    for name, case in hostile.cases():
        if name not in names:
            continue
        folder = base / "work"
        hostile.copy(intact, folder, mark)
        if case.change is not None:
            case.change(folder, mark)
        mark.unlink(missing_ok=True)
        seen = log.stat().st_size
        outcome = run(case.words, folder)
        tried = traced.connections(log.read_text(errors="replace")[seen:])
        marks = mark.read_text() if mark.exists() else ""
        if outcome.status == 0 and case.change is not None and case.words not in usual:
            hostile.copy(intact, folder, mark)
            usual[case.words] = run(case.words, folder)
        print(
            json.dumps([name, verdict(outcome, usual.get(case.words), marks, tried)]).replace(str(base), ""), flush=True
        )


def verdict(outcome: Outcome, usual: Outcome | None, marks: str, tried: Sequence[str]) -> dict[str, Any]:
    wrong = [f"executed: {marks}"] * bool(marks) + [f"connections: {', '.join(tried)}"] * bool(tried)
    exact = usual is not None and outcome.status == 0 and outcome.output == usual.output
    if not exact and not outcome.refused:
        wrong.append(f"status {outcome.status}: {outcome.error[-1500:]} {str(outcome.output)[:300]}")
    said = (outcome.error.strip().splitlines() or [""])[-1]
    row = {"verdict": "failed" if wrong else "exact" if exact else "refused"}
    return row | ({"wrong": wrong} if wrong else {"said": said} if not exact else {})


def run(words: Sequence[str], folder: Path) -> Outcome:
    """Run the command line in a forked process, in a folder."""
    printed = [folder.with_name(name) for name in ("out", "err")]
    if not (child := os.fork()):
        _be_command(words, folder, printed)
    deadline = time.monotonic() + SECONDS
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    out, err = (path.read_text(errors="replace") for path in printed)
    return Outcome(os.waitstatus_to_exitcode(ended[1]), without_times(out), err)


def _be_command(words: Sequence[str], folder: Path, printed: Sequence[Path]) -> None:
    for descriptor, path in enumerate((Path(os.devnull), *printed)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), descriptor)
    os.chdir(folder)
    sys.argv = ["cli.py", *words]
    status: object = 1
    try:
        importlib.reload(sys.modules["cli"]).main()
    except SystemExit as end:
        status = end.code
    finally:  # never return to the code of the parent
        if not isinstance(sys.exception(), SystemExit | None):
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
