"""One of the processes of `test_sharding.py`: `python -m tests.helpers.sharded_loading TINY TRUNK OUT`.

The process loads a trunk and a frozen copy of it, shards both, and writes its largest private memory in MB to the file
OUT. Pages of the file with the weights do not count, because all processes share them and the system can drop them.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator

from agents.model.build import assemble
from agents.training.model_setup import move_to_device, prepare, reference_copy
from agents.training.presets import resolve
from agents.user_optimizer import build_optimizer

SETTINGS = {"game": "bandit", "lora": 0, "dtype": "bfloat16", "kl_coef": 0.1, "context": 64, "micro_batch_tokens": 64,
            "prefix_sharing": "off", "parallel": 1, "episodes": 1}  # fmt: skip


def private() -> float:
    """Return the private memory of this process in MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1000


@contextmanager
def largest_private() -> Iterator[list[float]]:
    """Provide a list whose only number is the largest private memory in the block."""
    largest, ended = [private()], threading.Event()

    def watch() -> None:
        while not ended.is_set():
            largest[0] = max(largest[0], private())
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    yield largest
    ended.set()
    watcher.join()


def load(trunk: str, accelerator: Accelerator) -> None:
    """Load a trunk and a frozen copy of it, and shard both."""
    config = resolve({**SETTINGS, "trunk": trunk})
    model, _ = assemble(config.model.replace(q_heads=0), None)
    plugin = move_to_device(model, accelerator)
    reference = reference_copy(config, model, build_optimizer("ppo", config.optimizer), sharded=True)
    assert plugin is not None and reference is not None
    prepare(config, model, reference, accelerator, plugin)


def main(tiny: str, trunk: str, out: str) -> None:
    torch.set_num_threads(1)
    accelerator = Accelerator(cpu=True)
    load(tiny, accelerator)  # the libraries need memory, too
    before = private()
    with largest_private() as largest:
        load(trunk, accelerator)
    Path(out).write_text(str(largest[0] - before))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
