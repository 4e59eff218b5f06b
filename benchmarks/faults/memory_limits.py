"""Run commands with limits of the address space, and check that each succeeds, or ends in one line about memory.

    python -m benchmarks.faults.memory_limits --out benchmarks/memory_limits.json

A case is a command and a limit. In a new process, the limit applies to the whole address space. In a process that is
forked after all imports, it applies to what the process adds to its address space. Workers inherit the limit.

A case is *refused* if the command ends with status 1 or 2 and one line that begins with `error:` and mentions memory.
It is *exact* if the command succeeds. Otherwise, it *failed*. The exit status is 1 if any case failed.
"""

import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.faults import cases, processes
from benchmarks.faults.result import Result

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 600.0
MB = 1 << 20
TINY = ("--episodes", "4", "--parallel", "4", "--epochs", "1", "--iterations", "1")
COIN = "textworld:coin?level=1&seed=3"
COMMANDS: dict[str, tuple[str, ...]] = {
    "play": ("play", "--agent", "random", "--game", COIN, "--json"),
    "evaluate": ("evaluate", "--agent", "random", "--game", COIN, "--episodes", "4", "--json"),
    "train": ("train", "--out", "out", "--game", "bandit", "--trunk", "pico", *TINY),
    "train a larger model": ("train", "--out", "out", "--game", COIN, "--trunk", "small", *TINY, "--max-turns", "5"),
    "play in a process": ("play", "--agent", "random", "--game", COIN, "--step-seconds", "60", "--json"),
    "generate": ("generate", "out", "--family", "coin", "--per-level", "2", "--workers", "1"),
    "compare": ("compare", "--out", "out", "--game", "bandit", "--trunk", "pico", *TINY, "--optimizers", "ppo",
                "--seeds", "0", "--evaluations", "2"),
}  # fmt: skip
BEYOND = {
    "play": (1, 4, 16, 64), "evaluate": (1, 4, 16, 64), "train": (1, 2, 4, 8, 16, 32, 64, 256),
    "train a larger model": (16, 64, 128, 192, 256, 512),
}  # fmt: skip
"""Command -> limits in MB for a forked process: what it may add to the address space of its imports."""
WHOLE = {
    "play": (64, 128, 256, 512, 1024), "train": (256, 512, 1024, 1536, 2048, 3072), "play in a process": (300, 600),
    "generate": (300, 600), "compare": (2048, 3072),
}  # fmt: skip
"""Command -> limits in MB for a new process: its whole address space."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A command and a limit in MB. If `is_new`, the command runs in a new process, and the limit includes imports."""

    command: str
    limit: int
    is_new: bool


def plan(names: Sequence[str]) -> list[Case]:
    """Return the cases of these commands."""
    return [
        Case(command=name, limit=limit, is_new=is_new)
        for limits, is_new in ((BEYOND, False), (WHOLE, True))
        for name in names
        for limit in limits.get(name, ())
    ]


def run(case: Case, work: Path) -> tuple[str, str]:
    """Run a case. Return a tuple (outcome, message), whose message gives the reason if the case failed."""
    shutil.rmtree(work / "out", ignore_errors=True)
    words, limit = COMMANDS[case.command], partial(_limit, case.limit * MB, beyond=not case.is_new)
    if case.is_new:
        ended = subprocess.run(
            [sys.executable, str(ROOT / "cli.py"), *words], cwd=work, preexec_fn=limit, capture_output=True, text=True,
            timeout=SECONDS, check=False,
        )  # fmt: skip
        result = Result(status=ended.returncode, out=ended.stdout, err=ended.stderr)
    else:
        result = processes.run(words, work, set_up=limit, seconds=SECONDS)
    if "Traceback" not in result.err and result.status == 0:
        return "exact", result.last_line
    if result.is_refused and "memory" in result.last_line.lower():
        return "refused", result.last_line
    return "failed", f"status {result.status}: {result.err[-3000:]}"


def _limit(size: int, *, beyond: bool) -> None:
    """Limit the address space of this process to `size` bytes, in addition to its present size if `beyond`."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if beyond else 0
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + size, resource.RLIM_INFINITY))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = cases.parser(__doc__, commands=(",".join(COMMANDS), "commands, separated by commas"))
    options = parser.parse_args(arguments)
    processes.prepare()
    series, names = cases.Series("memory_limits", options, arguments), options.commands.split(",")
    work = series.root / "work"
    work.mkdir()
    for name in BEYOND.keys() & names:  # import what the commands need, and fill the cache of games
        shutil.rmtree(work / "out", ignore_errors=True)
        processes.succeed(COMMANDS[name], work, seconds=SECONDS)
        processes.import_as_in(work)
    series.run(plan(names), lambda case: run(case, work))
    return series.report()


if __name__ == "__main__":
    sys.exit(main())
