"""Run faults in a child process, which is replaced after a hang or a crash."""

import os
import random
import re
import resource
import shutil
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.faults import scenarios
from benchmarks.faults.damage import Fault, kinds_of
from benchmarks.faults.scenarios import SCENARIOS
from games.child_process import Child

SECONDS = 300.0
MAX_MEMORY = 8_000_000_000
"""Limits of one fault: wall time, which includes imports at the first fault, and the address space of the child."""


def plan(count: int, seed: int, names: Sequence[str]) -> list[Fault]:
    """Return `count` faults. Every kind of fault in every file occurs equally often."""
    slots = [(name, file, kind) for name in names for file in SCENARIOS[name].files for kind in kinds_of(file)
             if not (SCENARIOS[name].optional and kind == "missing")]  # fmt: skip
    random.Random(seed).shuffle(slots)
    return [Fault(*slots[i % len(slots)], seed + i) for i in range(count)]


def serve(connection: Connection) -> None:
    """Run the faults that `connection` receives, in a child process. The first message is the intact files' folder."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    base = Path(connection.recv())
    exact: dict[str, scenarios.Outcome] = {}
    while True:
        try:
            fault: Fault = connection.recv()
        except EOFError:
            return
        if fault.scenario not in exact:
            exact[fault.scenario] = _outcome(base, fault.scenario, None)[1]
        shown = SCENARIOS[fault.scenario].shown
        connection.send(verdict(*_outcome(base, fault.scenario, fault), exact[fault.scenario], shown))


def _outcome(base: Path, name: str, fault: Fault | None) -> tuple[str, scenarios.Outcome]:
    """Return the description of the fault and the outcome on a copy of the intact files, which has a fixed path."""
    folder = base.with_name(f"work-{os.getpid()}")
    shutil.rmtree(folder, ignore_errors=True)
    for part in SCENARIOS[name].folders:
        shutil.copytree(base / part, folder / part)
    what = ""
    if fault is not None:
        what = fault.apply(folder)
        if fault.kind != "bytes":  # such a fault is an accident, which checksums are to detect
            scenarios.seal(folder / fault.file)
    return what, scenarios.run(SCENARIOS[name], folder)


def verdict(what: str, outcome: scenarios.Outcome, exact: scenarios.Outcome, shown: str) -> tuple[str, str, str]:
    """Return the verdict, the description of the fault, and the message."""
    if outcome.refused:
        return "refused", what, outcome.error.strip().splitlines()[-1]
    if outcome.bug:
        return "failed", what, outcome.bug
    legal = outcome.status == 0 and re.search(shown, what)
    if legal or (outcome.status, outcome.output) == (exact.status, exact.output):
        return "exact", what, ""
    return "failed", what, f"another output, status {outcome.status}: {outcome.error} {outcome.output}"[:3000]


def run(faults: Sequence[Fault], base: Path, seconds: float = SECONDS) -> Iterator[tuple[Fault, str, str, str]]:
    """Run the faults in a child process, which is replaced after a hang or a crash, and yield their verdicts."""
    child = None
    try:
        for fault in faults:
            if child is None:
                child = Child(serve, stdout=2)
                child.connection.send(str(base))
            child.connection.send(fault)
            try:
                answer = child.connection.recv() if child.connection.poll(seconds) else ("failed", "", "hang")
            except (EOFError, ConnectionError):
                answer = ("failed", "", f"crash: {child.why_it_ended()}")
            if answer[0] == "failed" and answer[2].startswith(("hang", "crash")):
                child.end()
                child = None
            yield (fault, *answer)
    finally:
        if child is not None:
            child.end()


def prepare(connection: Connection) -> None:
    """Write the intact folders, in a child process."""
    folder, names = connection.recv()
    scenarios.prepare(Path(folder), names)
    connection.send(True)


def write_intact(base: Path, names: Sequence[str]) -> None:
    """Create the folder `base` and write the intact files of these scenarios into it."""
    base.mkdir()
    child = Child(prepare, stdout=2)
    try:
        child.connection.send((str(base), list(names)))
        child.connection.recv()
    finally:
        child.end()
