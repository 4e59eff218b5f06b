"""Run every command that writes on disks that are full or not writable, and check that nothing is lost.

    python -m benchmarks.faults.disk --out benchmarks/disk.json

A case is a command and a faulty disk: a file system with room for few bytes or few files, a read-only file system, or a
folder without write permission. It holds the command's output, its cache, its temporary folder or its home folder.

A case is *refused* if the command ends with status 1 or 2 and one line that begins with `error:` and names a file or
folder. It is *exact* if the command succeeds. If the output is incomplete, the command then runs again on a sound disk,
with `--resume` if the folder already holds a run. Finally, the output must equal that of a command without a fault.
Otherwise, the case *failed*. The exit status is 1 if any case failed. This program needs root. It mounts the disks in
its own mount namespace.
"""

import ctypes
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

from benchmarks.faults import cases, processes, scenarios

SECONDS = 900.0
TINY = ("--game", "bandit", "--trunk", "pico", "--episodes", "4", "--parallel", "4", "--epochs", "1")
TRAIN = ("train", "--out", "disk/out", *TINY, "--save-every", "1")
COMMANDS: dict[str, tuple[str, ...]] = {
    "train": (*TRAIN, "--iterations", "3"),
    "resume": ("train", "--resume", "--out", "disk/out", "--iterations", "4"),
    "play": ("play", "--agent", "random", "--game", "textworld:coin?level=1&seed=3", "--json"),
    "evaluate": ("evaluate", "--agent", "random", "--game", "textworld:coin?level=1&seed=3", "--episodes", "2"),
    "card": ("evaluate", "--card", "--agent", "random", "--tasks", "coin", "--episodes", "1",
             "--out", "disk/out/card.md"),
    "generate": ("generate", "disk/out", "--family", "coin", "--per-level", "2", "--workers", "1"),
    "make-pairs": ("make-pairs", "--game", "completion?max_tokens=3", "--judge", "length", "--agent", "writer",
                   "--pairs", "100", "--out", "disk/out/pairs.jsonl"),
    "train-reward": ("train-reward", "--pairs", "texts/pairs.jsonl", "--trunk", "trunk", "--lora", "0", "--held-out",
                     "0", "--out", "disk/out"),
    "reproduce": ("reproduce", "bandit", "--quick", "--out", "disk/out"),
    "compare": ("compare", "--out", "disk/out", *TINY, "--iterations", "1", "--optimizers", "ppo", "--seeds", "0",
                "--evaluations", "2"),
}  # fmt: skip
SLOW = ("compare", "generate", "reproduce", "card")  # only few of their cases are tried
# files without times, into which two commands without a fault write the same bytes
SAME = re.compile(r"\.safetensors$|transcripts\.jsonl$|/settings\.json$|\.z8$|manifest\.jsonl$|pairs\.jsonl$|card\.md$")
NAMED = re.compile(r"disk/out|(disk|cache|tmp|home)\b.*/|/(disk|cache|tmp|home)\b")
CLONE_NEWNS, PR_CAPBSET_DROP, CAPABILITIES = 0x20000, 24, (1, 2)  # to ignore file permissions


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A command and a faulty disk.

    Attributes:
        place: what is on the faulty disk: "disk" (the output folder), "cache", "tmp" or "home".
        options: options of the mounted file system, or "denied" for a folder without the permission to write.
    """

    command: str
    place: str
    options: str


def plan(name: str, size: int, points: int) -> list[Case]:
    """Return the cases of a command that writes `size` bytes, with `points` disks that are too small."""
    shares = [0.2] if name in SLOW else [(index + 0.5) / points for index in range(points)]
    options = [f"size={max(1, int(size * share) // 4096) * 4096}" for share in shares]
    options += [] if name in SLOW else ["nr_inodes=2", "nr_inodes=5", "nr_inodes=12"]
    found = [] if name in ("play", "evaluate") else [("disk", each) for each in (*options, "ro", "denied")]
    if name == "generate":
        found += [("tmp", "size=4k"), ("tmp", "ro")]
    if name in ("play", "evaluate", "train"):
        found += product(("cache", "tmp", "home"), ("size=4k", "ro", "denied"))
    return [Case(command=name, place=place, options=options) for place, options in dict.fromkeys(found)]


def prepare(base: Path) -> None:
    """Write the files that the commands need, and import the modules that the commands import."""
    base.mkdir()
    (base / "disk").mkdir()
    for name in ("trunk", "texts"):
        scenarios.FOLDERS[name](base / name)
    free = ("--game", "completion?max_tokens=3", "--mode", "free", "--trunk", "trunk")
    writer = ("train", "--out", "writer", *free, "--lora", "0", "--episodes", "4", "--iterations", "1")
    for words in (writer, ("train", "--out", "started", *TINY, "--save-every", "1", "--iterations", "2")):
        processes.succeed(words, base, seconds=SECONDS)
        processes.import_as_in(base)


def run_without_fault(name: str, base: Path, work: Path) -> tuple[dict[str, bytes], int]:
    """Run a command on a sound disk. Return a tuple (content of the output, size of all its files in bytes)."""
    _new(name, base, work)
    processes.succeed(COMMANDS[name], work, seconds=SECONDS)
    processes.import_as_in(work)
    if name == "card":  # making its games takes minutes
        shutil.copytree(work / "cache", base / "games of the card")
    size = sum(-(-path.stat().st_size // 4096) * 4096 for path in (work / "disk").rglob("*") if path.is_file())
    return content(work), size


def content(work: Path) -> dict[str, bytes]:
    """Return the content of the output files, by their path. Files with times are left out."""
    paths = (path for path in (work / "disk").rglob("*") if path.is_file() and SAME.search(str(path)))
    return {str(path.relative_to(work)): path.read_bytes() for path in paths}


def _new(name: str, base: Path, work: Path) -> None:
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(base, work)
    for place in ("cache", "tmp", "home"):
        shutil.rmtree(work / place, ignore_errors=True)
        (work / place).mkdir()
    if name == "card" and (base / "games of the card").exists():
        shutil.copytree(base / "games of the card", work / "cache", dirs_exist_ok=True)
    if name == "resume":
        shutil.copytree(work / "started", work / "disk" / "out")


def run(case: Case, *, base: Path, work: Path, reference: dict[str, bytes]) -> tuple[str, str]:
    """Run a case. Return a tuple (outcome, message), whose message gives the reason if the case failed."""
    _new(case.command, base, work)
    place = work / case.place
    is_denied = case.options == "denied"
    if is_denied:
        _set_modes(place, 0o555)
    else:
        _mount_at(place, case)
    try:
        return _check(case, work, place, reference)
    finally:
        if is_denied:
            _set_modes(place, 0o755)
        else:
            subprocess.run(["umount", "-l", str(place)], check=True)


def _set_modes(place: Path, mode: int) -> None:
    for folder in (place, *(path for path in place.rglob("*") if path.is_dir())):
        folder.chmod(mode)


def _mount_at(place: Path, case: Case) -> None:
    """Mount the file system of a case at `place`, and copy the folder's files into it.

    If the command resumes a run, the file system is larger by the files of this run.
    """
    held = place.with_name("held")
    place.rename(held)
    place.mkdir()
    options, files = case.options, [path for path in held.rglob("*") if path.is_file()]
    if case.command == "resume" and options != "ro":
        name, _, number = options.partition("=")
        used = sum(path.stat().st_size + 4096 for path in files) if name == "size" else len([*held.rglob("*")])
        options = f"{name}={int(number) + used}"
    _mount("-t", "tmpfs", *(() if options == "ro" else ("-o", options)), "tmpfs", str(place))
    shutil.copytree(held, place, dirs_exist_ok=True)
    if options == "ro":
        _mount("-o", "remount,ro", str(place))


def _check(case: Case, work: Path, place: Path, reference: dict[str, bytes]) -> tuple[str, str]:
    is_denied = case.options == "denied"
    set_up: Callable[[], object] = partial(_set_up, work, denied=is_denied)
    result = processes.run(COMMANDS[case.command], work, set_up=set_up, seconds=SECONDS)
    last = result.last_line
    if "Traceback" in result.err or not (result.status == 0 or (result.is_refused and NAMED.search(last))):
        return "failed", f"status {result.status}: {result.err[-3000:]}"
    if is_denied:
        _set_modes(place, 0o755)
    else:
        _mount("-o", "remount,rw,size=1g,nr_inodes=100000", str(place))
    if result.status or content(work) != reference:
        again = processes.run(COMMANDS[case.command], work, seconds=SECONDS)
        if again.status and case.command == "train" and "--resume" in again.err:
            again = processes.run((*COMMANDS["resume"][:-1], "3"), work, seconds=SECONDS)
        if again.status:
            return "failed", f"{last}\nafterwards, status {again.status}: {again.err[-2000:]}"
    now = content(work)
    if different := sorted(path for path in now.keys() | reference.keys() if now.get(path) != reference.get(path)):
        return "failed", f"{last}\nfiles differ: {', '.join(different[:5])}"
    return ("refused", last) if result.status else ("exact", last)


def _set_up(work: Path, *, denied: bool) -> None:
    """Use the home folder of the case and, if `denied`, drop the capabilities with which root ignores permissions."""
    os.environ["HOME"] = str(work / "home")
    if (work / "home").stat().st_mode & 0o200 == 0 or not os.access(work / "home", os.W_OK):
        del os.environ["ACTDE_CACHE"]  # the cache is then in the home folder
    os.environ.pop("XDG_CACHE_HOME", None)
    if not denied:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets):
        raise OSError(ctypes.get_errno(), "capget")
    for capability in CAPABILITIES:
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
        for index in (0, 1, 2):  # effective, permitted, inheritable
            sets[index] &= ~(1 << capability)
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = cases.parser(
        __doc__, commands=(",".join(COMMANDS), "commands, separated by commas"), points=(5, "sizes of the disk")
    )
    options = parser.parse_args(arguments)
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
        parser.error("this program needs root")
    _mount("--make-rprivate", "/")
    processes.prepare()
    series = cases.Series("disk", options, arguments)
    base, work = series.root / "base", series.root / "work"
    prepare(base)
    for name in options.commands.split(","):
        reference, size = run_without_fault(name, base, work)
        check = partial(run, base=base, work=work, reference=reference)
        series.run(plan(name, size, options.points), check)
    return series.report()


if __name__ == "__main__":
    sys.exit(main())
