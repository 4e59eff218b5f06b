"""End training runs of two processes by limits, signals and failures, resume them, and compare all results.

    python -m benchmarks.faults.ranks --count 60 --out benchmarks/ranks.json

All processes must end together. None of them may print a traceback, and at most one may print an error, in one line.
The exit status is 0 only for a limit, and the last checkpoint is kept. Then the run is resumed in two processes, or
started again if it kept nothing. A run is *exact* if its metrics, transcripts, weights and counters then equal those of
an undisturbed run. It is *refused* if it cannot be resumed and says so in one line. Otherwise, it *failed*. The exit
status of this command is 1 if any run failed. The same command continues after an interruption.

Most runs are forked from one process, which has imported all packages; see `rank_launch`. The last ones are started by
`torchrun` and `accelerate launch`.
"""

import argparse
import json
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agents.storage.checkpoint import checkpoints
from benchmarks import harness
from benchmarks.faults import rank_launch, rank_launchers
from benchmarks.faults.rank_cases import GUESS, ITERATIONS, LIMITS, WITHOUT_LIMITS, Case, command, plan, resumption
from benchmarks.faults.rank_launch import Ended

FILES = ("model.safetensors", "training.safetensors")
TIMES = re.compile("second|peak_memory")
Content = dict[str, Any]


def content(run: Path) -> Content:
    """Return what two equal runs have in common: everything but durations."""
    last = checkpoints(run)[-1]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    state = json.loads((last / "state.json").read_text())
    return {
        "metrics": [{name: value for name, value in line.items() if not TIMES.search(name)} for line in lines],
        "transcripts": (run / "transcripts.jsonl").read_bytes(),
        "state": {name: value for name, value in state.items() if not TIMES.search(name)},
        **{name: (last / name).read_bytes() for name in FILES},
    }


def newest(run: Path) -> int:
    """Return the number of finished iterations in the newest checkpoint."""
    saved = checkpoints(run)
    return int(saved[-1].name) if saved else 0


def complaints(case: Case, ended: Ended, before: int, after: int) -> Iterator[str]:
    """Yield what is wrong with the end of a run.

    Args:
        before: number of finished iterations in the newest checkpoint when the fault struck.
        after: the same number when all processes had ended.
    """
    errors = sum(text.count("error:") for text in ended.err)
    late = case.may_be_late and after == ITERATIONS
    if ended.hung:
        yield "it hangs"
    if any("Traceback" in text for text in ended.err):
        yield "traceback"
    if errors > 1 or sum(bool(text) for text in ended.err) > 1 or ended.out[1]:
        yield "several processes print"
    if errors < case.least_errors and not late:
        yield "no error"
    if after < before:
        yield f"checkpoint {before} is lost, {after} is left"
    if case.statuses and {*ended.statuses.values()} - case.statuses - ({0} if late else set()):
        yield "statuses of the processes"
    if ended.launcher is not None and (ended.launcher == 0) != (case.what == "limit") and not late:
        yield "status of the launcher"


def launch(case: Case, words: Sequence[str], work: Path) -> Ended:
    """Run a command line as the case describes it, with its fault."""
    if case.launcher in rank_launchers.LAUNCHERS:
        return rank_launchers.run(words, work, case.variables(work), case.strike, case.launcher)
    return rank_launch.run(words, work, case.variables(work), case.strike, supervised=case.launcher == "forked")


def undisturbed(words: Sequence[str], work: Path) -> Ended:
    return rank_launch.run(words, work, {}, None, supervised=True)


def judge(case: Case, work: Path, wanted: Content) -> tuple[str, str]:
    """Disturb a run and resume it. Return the verdict and a description."""
    run, struck = work / "run", work / "struck"
    limit = LIMITS[case.detail] if case.what == "limit" else WITHOUT_LIMITS
    ended = launch(case, command(case.setting, work, *limit), work)
    if case.strike and not struck.exists():
        return "failed", f"the fault did not strike: {ended}"
    before = int(struck.read_text()) if case.strike else 0
    if problems := ", ".join(complaints(case, ended, before, newest(run))):
        return "failed", f"{problems}: {ended}"
    again = undisturbed(resumption(case.setting, work), work)
    if "holds no run" in again.err[0]:
        again = undisturbed(command(case.setting, work, *WITHOUT_LIMITS), work)
    if again.launcher:
        refused = not again.hung and again.err[0].count("\n") == 1 and "error:" in again.err[0]
        return "refused" if refused else "failed", f"resumed: {again}"
    now = content(run)
    if different := [name for name in wanted if wanted[name] != now[name]]:
        return "failed", f"{', '.join(different)} differ: {ended}"
    return "exact", " / ".join(line for text in ended.err for line in text.splitlines() if line)


def measure(cases: Sequence[Case], root: Path) -> Iterator[dict[str, Any]]:
    """Yield a row for each case."""
    references = dict[tuple[str, str], Content]()
    (root / "guess.py").write_text(GUESS)
    for case in cases:
        if case.setting not in references:
            work = root / "-".join(case.setting)
            work.mkdir()
            ended = undisturbed(command(case.setting, work, *WITHOUT_LIMITS), work)
            if ended.launcher:
                raise AssertionError(f"an undisturbed run failed: {ended}")
            references[case.setting] = content(work / "run")
        work = root / str(case.number)
        work.mkdir()
        verdict, message = judge(case, work, references[case.setting])
        yield {**asdict(case), "verdict": verdict, "message": message.replace(f"{root}/", "")}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=60, help="number of runs")
    parser.add_argument("--launched", type=int, default=10, help="number of these runs that use the real launchers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="numbers of the runs, separated by commas (all)")
    parser.add_argument("--out", type=Path, help="also write the results here, as JSON")
    options = parser.parse_args(arguments)
    rows = json.loads(options.out.read_text())["runs"] if options.out and options.out.exists() else []
    done = {row["number"] for row in rows}
    cases = [case for case in plan(options.count, options.seed, options.launched) if case.number not in done]
    if options.only:
        cases = [case for case in cases if str(case.number) in options.only.split(",")]
    rank_launch.prepare()
    root = Path(tempfile.mkdtemp(prefix="ranks-"))
    total = _total(rows)
    for row in measure(cases, root):
        rows.append(row)
        total = _total(rows)
        print(json.dumps(row), flush=True)
        harness.write(options.out, harness.document("faults.ranks", options, arguments, total=total, runs=rows))
    print(json.dumps(total))
    if not total["failed"]:
        shutil.rmtree(root)
    return int(total["failed"] > 0)


def _total(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    counts = Counter(row["verdict"] for row in rows)
    return {"tried": len(rows), **{name: counts[name] for name in ("refused", "exact", "failed")}}


if __name__ == "__main__":
    sys.exit(main())
