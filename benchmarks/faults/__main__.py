"""Damage the files that commands read, and check that each fault is refused in one line or changes nothing.

    python -m benchmarks.faults --count 600 --out benchmarks/faults.json

Every fault is applied to a copy of intact files, and the command that reads them runs in a child process. A fault is
*refused* if the command ends with one line that begins with `error:` and a status of 1 or 2. It is *exact* if the
output equals that of the intact files, or if it shows the changed value of a document that anyone may edit. Otherwise,
it *failed*: a traceback, another output, a hang, an exhausted memory or an attempt to connect to the network. The exit
status is 1 if any fault failed.
"""

import argparse
import json
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.faults import worker
from benchmarks.faults.damage import Fault
from benchmarks.faults.scenarios import SCENARIOS


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=600, help="number of faults")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scenarios", default=",".join(SCENARIOS))
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--seconds", type=float, default=worker.SECONDS, help="time after which a fault hangs")
    parser.add_argument("--log", type=Path, help="also write each fault and its message here, as JSON Lines")
    parser.add_argument("--out", type=Path, help="also write the counts here, as JSON")
    options = parser.parse_args(arguments)
    names = options.scenarios.split(",")
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    lock = threading.Lock()

    def record(faults: Sequence[Fault]) -> None:
        for fault, verdict, what, message in worker.run(faults, base, options.seconds):
            with lock:
                counts[fault.scenario][verdict] += 1
                if verdict == "failed":
                    print(f"{fault}\n{what}\n{message}\n", flush=True)
                if options.log is not None:
                    with options.log.open("a") as log:
                        log.write(json.dumps([str(fault), verdict, what, message]) + "\n")

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.workers) as pool:
        base = Path(folder) / "intact"
        worker.write_intact(base, names)
        faults = worker.plan(options.count, options.seed, names)
        list(pool.map(record, [faults[number :: options.workers] for number in range(options.workers)]))
    rows: dict[str, Any] = {name: _row(count) for name, count in counts.items()}
    total = _row(sum(counts.values(), Counter()))
    print(json.dumps(total))
    harness.write(options.out, harness.document("faults", options, arguments, total=total, scenarios=rows))
    return int(total["failed"] > 0)


def _row(count: Counter[str]) -> dict[str, int]:
    return {"tried": count.total(), **{name: count[name] for name in ("refused", "exact", "failed")}}


if __name__ == "__main__":
    sys.exit(main())
