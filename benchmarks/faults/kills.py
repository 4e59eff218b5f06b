"""Kill a command before each of its writes, run it again, and compare all files with those of an uninterrupted run.

    python -m benchmarks.faults.kills [--commands train,compare] [--points 20] [--out benchmarks/kills.json]

An event is a system call that changes files, made by the command, its workers or programs that they start. First, the
kernel reports all events of an uninterrupted run (see system_calls.py). Then, for each event, the command runs in a new
folder, and SIGKILL kills the process that is about to make the call.

Afterwards, the command runs again. It must succeed, and the folder must contain the same files, with the same bytes, as
after an uninterrupted run. If the command instead refuses in one line that names `train --resume`, that command must
fulfil these conditions. Clocks are replaced by counters, and TensorBoard files, which contain times, are not compared.
"""

import random
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.faults import processes
from benchmarks.faults.cases import OUTCOMES
from benchmarks.faults.system_calls import Call

TINY = ("--game", "bandit", "--episodes", "4", "--parallel", "4", "--epochs", "1")
COMMANDS: dict[str, tuple[str, ...]] = {
    "train": ("train", "--out", "out", *TINY, "--iterations", "3", "--save-every", "1"),
    "compare": ("compare", "--out", "out", *TINY, "--iterations", "1", "--optimizers", "ppo", "--seeds", "0",
                "--evaluations", "2"),
    "generate": ("generate", "out", "--family", "coin", "--levels", "1-1", "--per-level", "1", "--workers", "1"),
    "card": ("evaluate", "--card", "--agent", "random", "--tasks", "coin", "--episodes", "1", "--out", "out/card.md"),
    "reproduce": ("reproduce", "bandit", "--quick", "--out", "out"),
}  # fmt: skip
# imported before the first command
HEAVY = ("agents.training.factory", "experiments.compare.figures", "textworld")
# the last: a file of four bytes with which Python's `tempfile` tests the temporary folder
IGNORED = re.compile(r"(^|/)tensorboard/|\.lock$|\.pyc$|^tmp/[a-z0-9_]{8}$")


Kills = dict[str, Any]
"""Results of all kills of one command.

* `events`: number of events in an uninterrupted run.
* `points`: the events, counted from 0, at which a kill was tried.
* `tried`: number of kills.
* `exact`: number of kills after which the next run ended with the same files as an uninterrupted run.
* `refused`: always 0, because a refusal counts as a failure. The table of all faults has this column.
* `failed`: number of all other kills. `failures` describes them.
* `missed`: number of points that the command did not reach, so that it was not killed.
"""
CREATE_OR_REMOVE = ("mkdir", "mkdirat", "unlink", "unlinkat", "rmdir")
COUNTS = ("tried", "exact", "refused", "failed", "missed")


def content(work: Path) -> dict[str, bytes]:
    """Return the content of all files below the folder `work`, by their path. The content of a folder is empty."""
    names = ((str(path.relative_to(work)), path) for path in work.rglob("*"))
    return {name: b"" if path.is_dir() else path.read_bytes() for name, path in names if not IGNORED.search(name)}


class Changes:
    """Records the system calls that change files in the folder `work`, and selects the call before which to kill.

    TextWorld's compiler writes some temporary files by thousands of equal calls. Only the first of them is recorded.

    Args:
        last: number of the call, counted from 0, before which the process is killed, if any.
    """

    def __init__(self, work: Path, last: int | None = None) -> None:
        self._inside = f"{work}/"
        self._last = last
        self._seen = set[str]()
        self.calls: list[str] = []

    def kills(self, call: Call) -> bool:
        """Record a call. Return whether the process must be killed before it."""
        named = [path for path in call.paths if path.startswith(self._inside) and "/tensorboard/" not in path]
        if not named or (call.name in CREATE_OR_REMOVE and Path(named[0]).exists() == call.name.startswith("mkdir")):
            return False  # such as `mkdir` of an existing folder
        text = str(call).replace(self._inside, "")
        if "/tw-inform-" in text and text in self._seen:
            return False
        self._seen.add(text)
        self.calls.append(text)
        return len(self.calls) - 1 == self._last


def spread(events: int, number: int | None) -> list[int]:
    """Return the indices of `number` of the events, at equal distances, or of all events, in random order."""
    count = events if number is None else min(number, events)
    found = [round(index * (events - 1) / max(1, count - 1)) for index in range(count)]
    random.Random(0).shuffle(found)
    return found


def kill_and_continue(name: str, base: Path, work: Path, event: int, reference: Mapping[str, bytes]) -> tuple[str, str]:
    """Kill a command before an event, and run it again. Return a tuple (system call, outcome).

    The outcome is the result of `continued`, or a message if the killed command itself ended wrongly. If the command
    did not reach the event, the tuple is ("", "missed").
    """
    shutil.copytree(base, work)
    changes = Changes(work, event)
    killed = processes.run(COMMANDS[name], work, changes.kills, set_up=processes.reproducibly(work))
    if len(changes.calls) <= event:
        return "", "missed"
    call = changes.calls[event]
    is_complete = killed.status == 0 and not _differences(work, reference, "out/")  # the worker had nothing left to do
    if killed.status != -9 and not (killed.status == 1 and killed.is_one_line) and not is_complete:
        return call, f"the command whose worker was killed: status {killed.status}, {killed.err[-300:]!r}"
    return call, continued(name, work, reference)


def continued(name: str, work: Path, reference: Mapping[str, bytes]) -> str:
    """Run a killed command again. Return "exact", or a message that says what went wrong."""
    result = processes.run(COMMANDS[name], work, set_up=processes.reproducibly(work))
    if result.status and result.is_one_line:
        if name != "train" or "--resume" not in result.err:
            return f"refused: {result.err[-300:]!r}"
        resume = ("train", "--resume", "--out", "out")
        result = processes.run(resume, work, set_up=processes.reproducibly(work))
    if result.status:
        return f"status {result.status}, {result.err[-300:]!r}"
    different = _differences(work, reference)
    return f"files differ: {', '.join(different[:5])}" if different else "exact"


def _differences(work: Path, reference: Mapping[str, bytes], below: str = "") -> list[str]:
    now = content(work)
    return sorted(
        path
        for path in now.keys() | reference.keys()
        if path.startswith(below) and now.get(path) != reference.get(path)
    )


def measure(name: str, number: int | None, root: Path, kills: Kills) -> Iterator[Kills]:
    """Kill a command before `number` events, or before all events. Yield the results, which continue `kills`.

    If the command now has another number of events than in `kills`, the stored results are discarded.
    """
    base, reference, events = prepared(name, root)
    if kills.get("events") != events:
        kills = {"command": " ".join(COMMANDS[name]), "events": events, "points": []}
        kills |= dict.fromkeys(COUNTS, 0) | {"failures": []}
    for event in spread(events, number):
        if event in kills["points"]:
            continue
        work = root / f"{name}-{event}"
        call, outcome = kill_and_continue(name, base, work, event, reference)
        kills["points"] = sorted([*kills["points"], event])
        kills["tried"] += outcome != "missed"
        if outcome in ("exact", "missed"):
            kills[outcome] += 1
            shutil.rmtree(work)
        else:
            kills["failed"] += 1
            kills["failures"].append(f"{event}: {call}: {outcome}")
        sys.stderr.write(f"{name} {event} of {events}: {call[:100]}: {outcome}\n")
        yield kills


def prepared(name: str, root: Path) -> tuple[Path, Mapping[str, bytes], int]:
    """Return the folder that every run starts with, and the content and number of events of an uninterrupted run."""
    base, first, second = (root / f"{name}-{what}" for what in ("base", "first", "second"))
    base.mkdir()
    # fills the cache of games, without which a card takes minutes
    processes.succeed(COMMANDS[name], base, set_up=processes.reproducibly(base))
    processes.import_as_in(base)
    shutil.rmtree(base / "out")
    for copy in (first, second):
        shutil.copytree(base, copy)
    changes = Changes(first)
    processes.succeed(COMMANDS[name], first, changes.kills, set_up=processes.reproducibly(first))
    processes.succeed(COMMANDS[name], second, set_up=processes.reproducibly(second))
    reference = content(first)
    if differ := [path for path, data in content(second).items() if reference.get(path) != data]:
        raise AssertionError(f"two runs without a kill of {name} differ in {', '.join(differ)}")
    return base, reference, len(changes.calls)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark. Return 1 if a kill failed, and 0 otherwise."""
    given = harness.parser(
        __doc__,
        timed=False,
        commands=(",".join(COMMANDS), "commands, separated by commas"),
        points=(int, "kills of each command, at equal distances (all)"),
        out=(Path, "also write the results here, as JSON, and continue them"),
    ).parse_args(arguments)
    processes.prepare(*HEAVY)
    commands = harness.read(given.out).get("commands", {})
    root = Path(tempfile.mkdtemp(prefix="kills-"))
    failed = 0
    for name in given.commands.split(","):
        for kills in measure(name, given.points, root, commands.get(name, {})):
            commands[name] = kills
            total = {count: sum(each[count] for each in commands.values()) for count in ("tried", *OUTCOMES)}
            harness.write(given.out, {"total": total, "commands": commands})
        failed += commands[name]["failed"]
    if not failed:
        shutil.rmtree(root)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
