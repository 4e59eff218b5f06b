"""Clocks that do not depend on the speed of the machine, so that two runs write the same bytes.

Python imports this file at its start if the folder is on PYTHONPATH. `perf_counter` and `process_time` count their
calls, and `monotonic` stands still.
"""

import itertools
import time

_calls = itertools.count()


def _count() -> float:
    return float(next(_calls))


time.perf_counter = time.process_time = _count
time.monotonic = lambda: 0.0
