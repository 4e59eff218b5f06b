"""Number of PyTorch's threads. This module does not import torch, so that it can be set before torch is imported."""

import os
import sys

from games.worker_pool import available_cpus

VARIABLE = "OMP_NUM_THREADS"


def set_threads(threads: int) -> None:
    """Set the number of PyTorch's threads in this process and in the processes that it starts."""
    os.environ[VARIABLE] = str(threads)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)


def threads_per_process(processes: int) -> int:
    """Return the number of threads of each of several processes that compute at the same time.

    OMP_NUM_THREADS decides if the user has set it. Otherwise, the processes share the physical cores equally.
    """
    import psutil

    if (given := os.environ.get(VARIABLE, "")).isdigit() and int(given):
        return int(given)
    cores = min(psutil.cpu_count(logical=False) or available_cpus(), available_cpus())
    return max(1, cores // processes)
