"""Kill a command before each of its writes, run it again, and compare all files with those of an undisturbed run.

    python -m tests.faults.kills [--commands train,compare] [--points 20] [--out benchmarks/kills.json]

strace lists the system calls with which an undisturbed command, and its workers, change files. For each of them, the
command runs in a new folder, and strace sends SIGKILL to the process that is about to make the call. Afterwards, the
same command must end with the same bytes and without leftovers. If it refuses in one line, the command that this line
names must. Clocks count their calls, so that two undisturbed runs write the same bytes. The files of TensorBoard hold
times and are left out.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from games.files import atomic_write
from tests.faults import processes
from tests.faults.forked_workers import MARK, offset

CALLS = ("openat,creat,write,pwrite64,writev,ftruncate,truncate,rename,renameat,renameat2,mkdir,mkdirat,rmdir,unlink,"
         "unlinkat,link,linkat,symlink,symlinkat,fsync,fdatasync,fallocate,copy_file_range,sendfile")  # fmt: skip
TINY = ("--game", "bandit", "--episodes", "4", "--parallel", "4", "--epochs", "1")
COMMANDS: dict[str, tuple[str, ...]] = {
    "train": ("train", "--out", "out", *TINY, "--iterations", "3", "--save-every", "1"),
    "compare": ("compare", "--out", "out", *TINY, "--iterations", "1", "--optimizers", "ppo", "--seeds", "0",
                "--evaluations", "2"),
    "generate": ("generate", "out", "--family", "coin", "--levels", "1-1", "--per-level", "2", "--workers", "1"),
    "card": ("evaluate", "--card", "--agent", "random", "--tasks", "coin", "--episodes", "1", "--out", "out/card.md"),
    "reproduce": ("reproduce", "bandit", "--quick", "--out", "out"),
}  # fmt: skip
CONTINUATIONS = {"--resume": {"train": ("train", "--resume", "--out", "out")}}
"""A text in a refusal -> the command that it names."""
# the last: a file of four bytes with which Python's `tempfile` tests the temporary folder
IGNORED = re.compile(r"(^|/)tensorboard/|\.lock$|\.pyc$|^tmp/[a-z0-9_]{8}$")
ENTRY = re.compile(r"^(?P<process>\d+) +(?P<call>\w+)\((?P<rest>.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A system call that changes files: its name, and its number among the calls of this name in its thread.

    Attributes:
        rank: the place of its process in the order in which `forked_workers` has started them, from 1. Other programs
            and threads have the rank 0.
    """

    rank: int
    call: str
    number: int
    text: str = field(compare=False)


@dataclass(slots=True, kw_only=True)
class Tally:
    """Results of a command.

    Attributes:
        events: system calls of the undisturbed command that change files.
        tried: kills, of which `exact` were followed by a run with the same bytes, `refused` by a refusal in one line,
            and `failed` by anything else. `failures` describes the last.
        missed: calls that the command did not reach when it was to be killed.
    """

    events: int
    tried: int = 0
    exact: int = 0
    refused: int = 0
    failed: int = 0
    missed: int = 0
    failures: list[str] = field(default_factory=list)


def content(work: Path) -> dict[str, bytes]:
    """Return the bytes of all files that a command has written in its folder, by their path."""
    paths = (path for path in work.rglob("*") if path.is_file())
    names = ((str(path.relative_to(work)), path) for path in paths)
    return {name: path.read_bytes() for name, path in names if not IGNORED.search(name)}


def points(log: Path, work: Path) -> Iterator[Point]:
    """Yield the system calls in strace's output that changed files in the folder `work`, in order."""
    counts, ranks = Counter[tuple[str, str]](), dict[str, int]()
    for line in log.read_text(errors="replace").splitlines():
        if (entry := ENTRY.match(line)) is None:
            continue
        call, rest = entry["call"], entry["rest"]
        counts[entry["process"], call] += 1
        if found := re.search(rf"{MARK}(\d+)", rest):
            ranks[entry["process"]] = int(found[1])
        reads = call == "openat" and "O_WRONLY" not in rest and "O_RDWR" not in rest
        if reads or "= -1 E" in rest or "/tensorboard/" in rest:
            continue
        named = [path for path in re.findall(r'"([^"]*)"', rest) if path]
        opened = re.findall(r"<(/[^>]*)>", rest)
        inside = (not path.startswith("/") or path.startswith(f"{work}/") for path in named)
        if any(inside) or (not named and any(path.startswith(f"{work}/") for path in opened)):
            text = f"{call}({rest}".replace(f"{work}/", "").replace(str(work), ".")
            number, rank = counts[entry["process"], call], ranks.get(entry["process"], 0)
            assert number < offset(call, 1), line
            yield Point(rank=rank, call=call, number=number, text=text[:160])


def spread(found: Sequence[Point], number: int | None) -> list[Point]:
    """Return `number` points at equal distances, or all."""
    if number is None or number >= len(found):
        return list(found)
    return [found[round(index * (len(found) - 1) / max(1, number - 1))] for index in range(number)]


def kill_and_continue(name: str, base: Path, work: Path, point: Point, wanted: Mapping[str, bytes]) -> str:
    """Kill a command at a point and run it again. Return "exact", "refused", "missed", or what went wrong."""
    words = COMMANDS[name]
    shutil.copytree(base, work)
    when = offset(point.call, point.rank) + point.number
    tracer = ("-e", f"trace={point.call}", "-e", f"inject={point.call}:signal=KILL:when={when}")
    log = work.with_suffix(".strace")
    killed = processes.run(words, work, tracer, log, point.call)
    if "killed by SIGKILL" not in log.read_text(errors="replace"):
        return "missed"
    if killed.status != -9 and not (killed.status == 1 and killed.is_one_line):
        return f"the command whose worker was killed: status {killed.status}, {killed.err[-300:]!r}"
    done = processes.run(words, work)
    if done.status and done.is_one_line:
        said = next((text for text in CONTINUATIONS if text in done.err), None)
        if said is None or name not in CONTINUATIONS[said]:
            return "refused"
        done = processes.run(CONTINUATIONS[said][name], work)
    if done.status:
        return f"status {done.status}, {done.err[-300:]!r}"
    now = content(work)
    different = sorted(path for path in now.keys() | wanted.keys() if now.get(path) != wanted.get(path))
    return f"files differ: {', '.join(different[:5])}" if different else "exact"


def measure(name: str, number: int | None, root: Path) -> Tally:
    """Kill a command at `number` points, or at all, and return the results."""
    base, first, second = (root / f"{name}-{what}" for what in ("base", "first", "second"))
    base.mkdir()
    _undisturbed(name, base)  # fills the cache of games, without which a card takes minutes
    processes.import_as_in(base)
    shutil.rmtree(base / "out")
    for copy in (first, second):
        shutil.copytree(base, copy)
    log = root / f"{name}.strace"
    _undisturbed(name, first, ("-e", f"trace={CALLS}"), log)
    _undisturbed(name, second)
    wanted = content(first)
    if differ := [path for path, data in content(second).items() if wanted.get(path) != data]:
        raise AssertionError(f"two undisturbed runs of {name} differ in {', '.join(differ)}")
    found = list(dict.fromkeys(points(log, first)))
    tally = Tally(events=len(found))
    for index, point in enumerate(spread(found, number)):
        work = root / f"{name}-{index}"
        result = kill_and_continue(name, base, work, point, wanted)
        tally.tried += result != "missed"
        if result in ("exact", "refused", "missed"):
            setattr(tally, result, getattr(tally, result) + 1)
            shutil.rmtree(work)
        else:
            tally.failed += 1
            tally.failures.append(f"{point.text}: {result}")
        sys.stderr.write(f"{name} {index + 1}: {point.rank} {point.call} {point.number}: {result}\n")
    return tally


def _undisturbed(name: str, work: Path, tracer: Sequence[str] = (), log: Path | None = None) -> None:
    done = processes.run(COMMANDS[name], work, tracer, log)
    if done.status:
        raise AssertionError(f"{name}: status {done.status}, {done.err}")


def main() -> int:
    """Run the command, and return 1 if a kill has lost something."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--commands", default=",".join(COMMANDS), help="commands, separated by commas")
    parser.add_argument("--points", type=int, help="kills of each command, at equal distances (all)")
    parser.add_argument("--out", type=Path, help="also write the results here, as JSON; other commands in it are kept")
    given = parser.parse_args()
    processes.prepare()
    version = subprocess.run(["strace", "-V"], capture_output=True, text=True, check=True).stdout.split("\n")[0]
    stored = json.loads(given.out.read_text()) if given.out and given.out.exists() else {"commands": {}}
    root = Path(tempfile.mkdtemp(prefix="kills-"))
    failed = 0
    for name in given.commands.split(","):
        tally = measure(name, given.points, root)
        failed += tally.failed
        sys.stderr.write(f"{name}: {asdict(tally)}\n")
        stored["commands"][name] = {"command": " ".join(COMMANDS[name]), **asdict(tally)}
        if given.out:
            atomic_write(given.out, json.dumps({"strace": version, **stored}, indent=1) + "\n")
    if not failed:
        shutil.rmtree(root)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
