"""What every worker process of an experiment does first."""

import os
import threading
from multiprocessing import parent_process


def begin_worker(threads: int) -> None:
    """What a worker does first: use its share of the cores, and end when whoever asked for the grid has ended."""
    import torch

    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # checkpoints are whole whenever this comes
