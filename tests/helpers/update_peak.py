"""The peak memory of an update of the trunk `small`, measured in a process of its own."""

import os
import subprocess
import sys

from tests import ROOT

CODE = """
import sys, torch
from agents.config import ModelConfig
from agents.model.build import assemble
from benchmarks.memory import peak, reset_peak, resident

rows, length, recompute = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "True"
model, _ = assemble(ModelConfig(trunk="small"), None)
if recompute:
    model.enable_gradient_checkpointing()
model.train()

def learn(rows, length):
    model.hidden_states(torch.zeros(rows, length, dtype=torch.int64), use_cache=False).sum().backward()

learn(1, 8)
reset_peak()
before = resident()
learn(rows, length)
print(peak() - before)
"""


def peak_of_update(rows: int, length: int, *, recompute: bool, **environment: str) -> int:
    """Return the bytes that the passes over `rows` streams of `length` tokens need at their peak.

    Args:
        recompute: whether gradient checkpointing is on.
        environment: further environment variables of the process, such as settings of the memory allocator.
    """
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(rows), str(length), str(recompute)],
        env=os.environ | environment, cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(done.stdout)
