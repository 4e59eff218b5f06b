"""End training runs of two processes by limits, signals and failures, resume them, and compare all results.

    python -m benchmarks.faults.ranks --count 60 --out benchmarks/ranks.json
    python -m benchmarks.faults.ranks --sharded --count 20 --out benchmarks/ranks_sharded.json

All processes must end together, and within a minute if one of them or the launcher is killed. None of them may print a
traceback, and at most one may print an error, in one line. The exit status must be 0 after a limit and nonzero
otherwise, and no checkpoint may be lost. Then the run is resumed in two processes, or started again if it saved no
checkpoint. A run is *exact* if its metrics, transcripts, weights and counters then equal those of a run without a
fault. It is *refused* if it cannot be resumed and says so in one line. Otherwise, it *failed*. The exit status of this
command is 1 if any run failed. The same command continues after an interruption.

Most runs are forked from one process, which has imported all packages; see `rank_launch`. `torchrun` and `accelerate
launch` start the last ones. With `--sharded`, all runs are forked and have a sharded trunk, and one process is killed.
"""

import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agents.storage.checkpoint_files import checkpoints
from benchmarks import harness
from benchmarks.faults import cases, rank_cases, rank_launch, rank_launchers
from benchmarks.faults.rank_cases import GUESS, ITERATIONS, LIMITS, WITHOUT_LIMITS, Case
from benchmarks.faults.rank_launch import Launch

TIMES = re.compile("second|peak_memory")
MOST_SECONDS = 60.0  # from the kill of a process to the end of the last one
Content = dict[str, Any]


def content(run: Path) -> Content:
    """Return the content of a run's files without times and peak memory, so that it is the same for two equal runs."""
    last = checkpoints(run)[-1]
    return {
        "metrics": [_without_times(line) for line in (run / "metrics.jsonl").read_text().splitlines()],
        "state": _without_times((last / "state.json").read_text()),
        "transcripts": (run / "transcripts.jsonl").read_bytes(),
        **{path.name: path.read_bytes() for path in last.glob("*.safetensors")},
    }


def _without_times(document: str) -> dict[str, Any]:
    return {name: value for name, value in json.loads(document).items() if not TIMES.search(name)}


def newest(run: Path) -> int:
    """Return the number of finished iterations in the newest checkpoint."""
    saved = checkpoints(run)
    return int(saved[-1].name) if saved else 0


def problems(case: Case, launched: Launch, before: int, after: int) -> Iterator[str]:
    """Yield what is wrong with the end of a run.

    `before` and `after` are the finished iterations in the newest checkpoint, at the fault and at the end.
    """
    ranks, launcher = launched.ranks, launched.launcher.status
    errors = sum(rank.err.count("error:") for rank in ranks)
    if case.detail == "SIGKILL" and launched.seconds is not None and launched.seconds > MOST_SECONDS:
        yield f"ends after {launched.seconds:.0f} s"
    late = case.may_be_late and after == ITERATIONS
    if any("Traceback" in rank.err for rank in ranks):
        yield "traceback"
    if errors > 1 or ranks[1].out or ranks[1].err.count("\n") > errors:  # process 0 also prints the progress
        yield "several processes print"
    if errors < case.least_errors and not late:
        yield "no error"
    if after < before:
        yield f"checkpoint {before} is lost, {after} is left"
    statuses = {rank.status for rank in ranks} - {None}
    if case.statuses and statuses - case.statuses - ({0} if late else set()):
        yield "statuses of the processes"
    if launcher is not None and (launcher == 0) != (case.what == "limit") and not late:
        yield "status of the launcher"


def launch(case: Case, words: Sequence[str], work: Path) -> Launch:
    """Run a command line with the launcher, the environment variables and the fault of the case."""
    if case.launcher in rank_launchers.LAUNCHERS:
        return rank_launchers.run(words, work, case.variables(work), case.fault, case.launcher)
    return rank_launch.run(words, work, case.variables(work), case.fault, supervised=case.launcher == "forked")


def launch_without_fault(case: Case, words: Sequence[str], work: Path) -> Launch:
    return rank_launch.run(words, work, case.lasting, None, supervised=True)


def check(case: Case, work: Path, reference: Content) -> dict[str, Any]:
    """End a run by a fault and resume it. Return the outcome, a message, and the seconds from the fault to the end."""
    limit, seconds = LIMITS[case.detail] if case.what == "limit" else WITHOUT_LIMITS, None
    try:
        launched = launch(case, rank_cases.command(case.setting, work, *limit), work)
        seconds = launched.seconds
        outcome, message = _resume(case, work, launched, reference)
    except TimeoutError as error:
        outcome, message = "failed", f"it hangs: {error}"
    return {"outcome": outcome, "seconds": seconds, "message": message}


def _resume(case: Case, work: Path, launched: Launch, reference: Content) -> tuple[str, str]:
    """Check the end of a run and resume it. Return a tuple (outcome, message)."""
    run, injected = work / "run", work / "injected"
    if case.fault and not injected.exists():
        return "failed", f"the fault was not injected: {launched}"
    before = int(injected.read_text()) if case.fault else 0
    if wrong := ", ".join(problems(case, launched, before, newest(run))):
        return "failed", f"{wrong}: {launched}"
    again = launch_without_fault(case, rank_cases.resumption(case.setting, work), work)
    if "holds no run" in again.ranks[0].err:
        again = launch_without_fault(case, rank_cases.command(case.setting, work, *WITHOUT_LIMITS), work)
    if again.launcher.status:
        return "refused" if again.ranks[0].is_one_line else "failed", f"resumed: {again}"
    now = content(run)
    if different := [name for name in reference if reference[name] != now[name]]:
        return "failed", f"{', '.join(different)} differ: {launched}"
    return "exact", " / ".join(line for rank in launched.ranks for line in rank.err.splitlines() if line)


def measure(planned: Sequence[Case], root: Path) -> Iterator[dict[str, Any]]:
    """Run all cases, and yield a row for each: the fields of the case, its outcome and a message."""
    references = dict[tuple[str, str], Content]()
    (root / "guess.py").write_text(GUESS)
    for case in planned:
        if case.setting not in references:
            work = root / "-".join(case.setting)
            work.mkdir()
            launched = launch_without_fault(case, rank_cases.command(case.setting, work, *WITHOUT_LIMITS), work)
            if launched.launcher.status:
                raise AssertionError(f"a run without a fault failed: {launched}")
            references[case.setting] = content(work / "run")
        work = root / str(case.number)
        work.mkdir()
        checked = check(case, work, references[case.setting])
        yield {**asdict(case), **checked, "message": checked["message"].replace(f"{root}/", "")}


def main(arguments: Sequence[str] | None = None) -> int:
    options = cases.parser(
        __doc__,
        count=(60, "number of runs"),
        launched=(10, "number of these runs that use the real launchers"),
        sharded=(False, "shard the trunk, and kill one process of each run"),
        seed=(0, "seed of the plan"),
    ).parse_args(arguments)
    rows = harness.read(options.out).get("runs", [])
    if options.sharded:
        planned = rank_cases.sharded_plan(options.count, options.seed)
    else:
        planned = rank_cases.plan(options.count, options.seed, options.launched)
    numbers = set(options.only or [case.number for case in planned]) - {row["number"] for row in rows}
    rank_launch.prepare()
    root = Path(tempfile.mkdtemp(prefix="ranks-"))
    total = _total(rows)
    for row in measure([case for case in planned if case.number in numbers], root):
        rows.append(row)
        total = _total(rows)
        print(json.dumps(row), flush=True)
        harness.report("faults.ranks", options, arguments, total=total, runs=rows)
    print(json.dumps(total))
    if not total["failed"]:
        shutil.rmtree(root)
    return int(total["failed"] > 0)


def _total(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    return cases.counts(row["outcome"] for row in rows)


if __name__ == "__main__":
    sys.exit(main())
