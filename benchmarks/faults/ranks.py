"""End training runs of two processes by limits, signals and failures, resume them, and compare all results.

    python -m benchmarks.faults.ranks --count 60 --out benchmarks/ranks.json

All processes must end together. None of them may print a traceback, and at most one may print an error, in one line.
The exit status is 0 only for a limit, and the last checkpoint is kept. Then the run is resumed in two processes, or
started again if it kept nothing. A run is *exact* if its metrics, transcripts, weights and counters then equal those of
an undisturbed run. It is *refused* if it cannot be resumed and says so in one line. Otherwise, it *failed*. The exit
status of this command is 1 if any run failed.

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
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agents.storage.checkpoint import checkpoints
from benchmarks import harness
from benchmarks.faults import rank_launch, rank_launchers
from benchmarks.faults.rank_cases import GUESS, WITHOUT_LIMITS, LIMITS, Case, command, plan, resumption
from benchmarks.faults.rank_launch import RANKS, Ended

FILES = ("model.safetensors", "training.safetensors")
TIMES = re.compile("second")
Content = dict[str, Any]


def content(run: Path) -> Content:
    """Return what two equal runs have in common: all files but durations."""
    last = checkpoints(run)[-1]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    state = json.loads((last / "state.json").read_text())
    return {
        "metrics": [{name: value for name, value in line.items() if not TIMES.search(name)} for line in lines],
        "transcripts": (run / "transcripts.jsonl").read_bytes(),
        "state": {name: value for name, value in state.items() if not TIMES.search(name)},
        **{name: (last / name).read_bytes() for name in FILES},
    }


def complaint(case: Case, ended: Ended, kept: str, newest: str) -> str:
    """Return what is wrong with the end of a run, or an empty text.

    Args:
        kept: number of the newest checkpoint when the fault struck.
        newest: the same when all processes had ended.
    """
    errors = [text for text in ended.err if "error:" in text]
    lines = sum(text.count("error:") for text in ended.err)
    statuses = {*ended.statuses.values()}
    expected = {"limit": {0}, "game": {2}, "disk": {1}}.get(case.what)
    if case.detail == "native":
        expected = {1, 3}
    if ended.hung:
        return "hang"
    if any("Traceback" in text for text in ended.err):
        return "traceback"
    if len(errors) > 1 or lines > 1:
        return "several errors"
    if any(ended.out[1:]):
        return "process 1 prints results"
    if newest < kept:
        return f"checkpoint {kept} is lost, {newest} is left"
    if expected and statuses and statuses != expected:
        return f"statuses {ended.statuses}"
    if case.what in ("game", "disk") and case.detail != "native" and lines != 1:
        return "no error"
    if case.strike and case.what == "signal" and (case.strike.target, case.detail) != ("launcher", "SIGKILL"):
        survivor = {0, 1} - ({int(case.strike.target)} if case.strike.target != "launcher" else {0, 1})
        if case.launcher == "alone" and case.detail != "SIGINT" and lines != len(survivor):
            return "the surviving process says nothing"
    if case.detail == "SIGINT" and case.strike and case.strike.phase != "start" and statuses - {130}:
        return f"statuses {ended.statuses}"
    failed = case.what != "limit"
    if ended.launcher is not None and (ended.launcher != 0) != failed and not _finished(case, newest):
        return f"status {ended.launcher} of the launcher"
    return ""


def _finished(case: Case, newest: str) -> bool:
    """Return whether a signal came after the end of the run."""
    return case.what == "signal" and newest == "000006"


def launch(case: Case, words: Sequence[str], work: Path, *, struck: bool) -> Ended:
    """Run a command line as the case describes it, with its fault or without."""
    variables, strike = (case.variables(), case.strike) if struck else ({}, None)
    if struck and case.launcher in rank_launchers.LAUNCHERS:
        return rank_launchers.run(words, work, variables, strike, case.launcher)
    return rank_launch.run(words, work, variables, strike, supervised=case.launcher != "alone")


def judge(case: Case, work: Path, wanted: Content) -> tuple[str, str]:
    """Disturb a run and resume it. Return the verdict and a description."""
    limit = LIMITS[case.detail] if case.what == "limit" else WITHOUT_LIMITS
    ended = launch(case, command(case.setting, work, *limit), work, struck=True)
    saved = [folder.name for folder in checkpoints(work / "run")]
    kept = (work / "struck").read_text() if (work / "struck").exists() else "000000"
    if case.strike and not (work / "struck").exists():
        return "failed", f"the fault did not strike: {ended}"
    if problem := complaint(case, ended, kept, saved[-1] if saved else "000000"):
        return "failed", f"{problem}: {ended}"
    shutil.copytree(work, work.with_name(f"{work.name}-struck"))
    again = launch(case, resumption(case.setting, work), work, struck=False)
    if "holds no run to resume" in again.err[0]:
        again = launch(case, command(case.setting, work, *WITHOUT_LIMITS), work, struck=False)
    if again.launcher or again.hung:
        text = again.err[0]
        return "refused" if text.count("\n") == 1 and "error:" in text else "failed", f"resumed: {again}"
    now = content(work / "run")
    different = [name for name in wanted if wanted[name] != now[name]]
    said = " | ".join(text.strip().replace("\n", " / ") for text in ended.err if text)
    return ("failed", f"differs in {', '.join(different)}: {ended}") if different else ("exact", f"{ended.seconds:.0f} s: {said}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=60, help="number of runs")
    parser.add_argument("--launched", type=int, default=10, help="number of these runs that use the real launchers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=lambda text: {int(number) for number in text.split(",")}, help="only these runs")
    parser.add_argument("--log", type=Path, help="also write each run and its end here, as JSON Lines; its runs are kept")
    parser.add_argument("--out", type=Path, help="also write the counts here, as JSON")
    options = parser.parse_args(arguments)
    rank_launch.prepare()
    root, references, rows = Path(tempfile.mkdtemp(prefix="ranks-")), dict[tuple[str, str], Content](), list[Any]()
    (root / "guess.py").write_text(GUESS)
    for case in plan(options.count, options.seed, options.launched):
        if options.only and case.number not in options.only:
            continue
        if case.setting not in references:
            work = root / "-".join(case.setting)
            work.mkdir()
            ended = rank_launch.run(command(case.setting, work, *WITHOUT_LIMITS), work, {}, None, supervised=True)
            assert ended.launcher == 0, ended
            references[case.setting] = content(work / "run")
        work = root / str(case.number)
        work.mkdir()
        verdict, text = judge(case, work, references[case.setting])
        rows.append({**asdict(case), "verdict": verdict})
        print(json.dumps([case.number, case.game, case.optimizer, case.launcher, case.what, case.detail,
                          str(case.strike), verdict, text]), flush=True)
    counts = Counter(row["verdict"] for row in rows)
    total = {"tried": len(rows), **{name: counts[name] for name in ("refused", "exact", "failed")}}
    print(json.dumps(total))
    harness.write(options.out, harness.document("ranks", options, arguments, total=total, runs=rows))
    if not total["failed"]:
        shutil.rmtree(root)
    return int(total["failed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
