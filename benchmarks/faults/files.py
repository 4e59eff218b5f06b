"""Damage the files that commands read, and check that each fault is refused in one line or changes nothing.

    python -m benchmarks.faults.files --count 600 --out benchmarks/faults.json

Every fault is applied to a copy of intact files, and the command that reads them runs in a forked process. A fault is
*refused* if the command ends with one line that begins with `error:` and a status of 1 or 2. It is *exact* if the
command's output is the same as for the intact files, or if the command shows a changed value in a document that users
may edit. Otherwise, it *failed*: the command printed a traceback or another output, hung, exhausted its memory, or
tried to connect to the network. The exit status is 1 if any fault failed.
"""

import json
import random
import re
import resource
import shutil
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.faults import cases, processes, scenarios
from benchmarks.faults.damage import FileFault, kinds_of
from benchmarks.faults.result import Result
from benchmarks.faults.scenarios import SCENARIOS

SECONDS, MAX_MEMORY = 300.0, 8_000_000_000  # limits for one fault: wall time, and bytes of address space
TIMES = re.compile(r"seconds|_per_second|minutes|peak_memory")


def plan(count: int, seed: int, names: Sequence[str]) -> list[FileFault]:
    """Return `count` faults, which are spread evenly over all files and over the entries of `kinds_of(file)`."""
    slots = [(name, file, kind) for name in names for file in SCENARIOS[name].files for kind in kinds_of(file)
             if not (SCENARIOS[name].optional and kind == "missing")]  # fmt: skip
    random.Random(seed).shuffle(slots)
    return [FileFault(*slots[i % len(slots)], seed + i) for i in range(count)]


class Files:
    """Writes intact files into the folder `base`, and runs scenarios on copies of them."""

    def __init__(self, base: Path, names: Sequence[str]) -> None:
        self._base, self._work = base, base.with_name("work")
        self._references = dict[str, Result]()
        base.mkdir()
        scenarios.prepare(base, names)

    def check(self, fault: FileFault) -> tuple[str, str]:
        """Run the command of a scenario with a fault. Return a tuple (outcome, message)."""
        if fault.command not in self._references:
            self._references[fault.command] = reference = self._run(fault.command, None)[1]
            assert reference.status == 0, reference
            processes.import_as_in(self._work)
        what, result = self._run(fault.command, fault)
        return outcome(what, result, self._references[fault.command], SCENARIOS[fault.command].shown)

    def _run(self, name: str, fault: FileFault | None) -> tuple[str, Result]:
        """Run a scenario. Return a tuple (description of the fault, result of the command)."""
        shutil.rmtree(self._work, ignore_errors=True)
        for part in SCENARIOS[name].folders:
            shutil.copytree(self._base / part, self._work / part)
        what = "" if fault is None else fault.apply(self._work)
        if fault is not None and fault.kind != "bytes":  # changed bytes are an accident, which checksums detect
            scenarios.seal(self._work / fault.file)
        action = scenarios.action(SCENARIOS[name], self._work)
        return what, processes.run(action, self._work, set_up=_restrict, seconds=SECONDS)


def outcome(what: str, result: Result, reference: Result, shown: str) -> tuple[str, str]:
    """Return a tuple (outcome, message) for a fault.

    Args:
        what: description of the fault.
        shown: pattern that matches the descriptions of faults that may change the output.
    """
    if result.is_refused:
        return "refused", f"{what}: {result.last_line}"
    is_equal = (result.status, without_times(result.out)) == (reference.status, without_times(reference.out))
    is_legal = result.status == 0 and re.search(shown, what)
    if "Traceback" not in result.err and (is_equal or is_legal):
        return "exact", what
    return "failed", f"{what}: status {result.status}: {result.err[-3000:]} {result.out[:1000]}"


def without_times(text: str) -> Any:
    """Parse a JSON document and remove its durations and peak memory. Any other text is returned unchanged."""
    try:
        return _strip(json.loads(text))
    except ValueError:
        return text


def _strip(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _strip(item) for key, item in value.items() if not TIMES.search(key)}
    return [_strip(item) for item in value] if isinstance(value, list) else value


def _restrict() -> None:
    """Limit the memory of this process. Let every network connection and host look-up raise AssertionError."""

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError(f"a network connection was attempted: {arguments[1:]}")

    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, resource.RLIM_INFINITY))
    socket.socket.connect, socket.getaddrinfo = refuse, refuse  # type: ignore[method-assign, assignment]


def main(arguments: Sequence[str] | None = None) -> int:
    options = cases.parser(
        __doc__,
        count=(600, "number of faults"),
        seed=(0, "seed of the faults"),
        scenarios=(",".join(SCENARIOS), "names of scenarios, separated by commas"),
    ).parse_args(arguments)
    processes.prepare()
    names = options.scenarios.split(",")
    series = cases.Series("files", options, arguments)
    series.run(plan(options.count, options.seed, names), Files(series.root / "intact", names).check)
    return series.report()


if __name__ == "__main__":
    sys.exit(main())
