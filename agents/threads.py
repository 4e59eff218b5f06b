"""Sets the number of PyTorch threads."""

import os
import sys

from games.worker_pool import available_cpus

VARIABLE = "OMP_NUM_THREADS"


def set_threads(threads: int) -> None:
    """Set the number of PyTorch threads in this process and its child processes."""
    os.environ[VARIABLE] = str(threads)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)


def threads_per_process(processes: int) -> int:
    """Return OMP_NUM_THREADS or, if unset, the number of physical cores divided by `processes`."""
    import psutil

    if (value := os.environ.get(VARIABLE, "")).isdigit() and int(value):
        return int(value)
    cores = min(psutil.cpu_count(logical=False) or available_cpus(), available_cpus())
    return max(1, cores // processes)
