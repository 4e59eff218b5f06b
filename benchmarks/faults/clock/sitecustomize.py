"""Clocks and a peak memory that do not depend on the machine, so that two runs write the same bytes.

Python imports this file at its start if the folder is on PYTHONPATH. `perf_counter` and `process_time` count their
calls, `monotonic` stands still, and `getrusage` reports no memory.
"""

import itertools
import resource
import time
from types import SimpleNamespace

_calls = itertools.count()


def _count() -> float:
    return float(next(_calls))


time.perf_counter = time.process_time = _count
time.monotonic = lambda: 0.0
resource.getrusage = lambda who: SimpleNamespace(ru_maxrss=0)  # type: ignore[assignment, return-value]
