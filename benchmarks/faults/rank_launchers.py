"""Train in two processes that `torchrun` or `accelerate launch` starts."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from benchmarks.faults import processes
from benchmarks.faults.rank_launch import LIMIT, RANKS, Fault, Launch, collect, record, since_fault

ROOT = Path(__file__).resolve().parents[2]
LAUNCHERS = {
    "torchrun": ("torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
    "accelerate": ("accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"),
}
SEPARATE = {"torchrun": ("--redirects", "3", "--log-dir"), "accelerate": ("--tee", "3", "--log_dir")}
"""Launcher -> options with which it writes the output of each process to files, separate from its own output."""


def run(words: Sequence[str], work: Path, variables: dict[str, str], fault: Fault | None, launcher: str) -> Launch:
    """Start the command line with the launcher, send the signal of the fault, and wait for all processes.

    If the phase of the fault is "start", the signal is sent 1 to 10 seconds after both processes have started.
    Otherwise, it is sent `fault.delay` seconds after process 0 has printed iteration `fault.number`.
    """
    options = (*LAUNCHERS[launcher], *SEPARATE[launcher], str(work / "logs"))
    environment = os.environ | variables | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    with (work / "launcher.err").open("w") as err:
        process = subprocess.Popen([sys.executable, "-m", *options, "cli.py", *words], cwd=ROOT, env=environment,
                                   stdout=err, stderr=err, start_new_session=True)  # fmt: skip
    if fault:
        _send(fault, process, work)
    statuses = processes.wait_for_all(LIMIT)
    seconds = since_fault(work) if fault else None
    process.returncode = statuses.get(process.pid)
    printed = [(_printed(work, rank, "stdout"), _printed(work, rank, "stderr")) for rank in RANKS]
    return collect(statuses, process.pid, work, printed, seconds)


def _printed(work: Path, rank: int, name: str) -> str:
    return "".join(path.read_text(errors="replace") for path in (work / "logs").rglob(f"{rank}/{name}.log"))


def _send(fault: Fault, launcher: subprocess.Popen[bytes], work: Path) -> None:
    """Send the signal of a fault when the run has reached its phase."""
    deadline = time.monotonic() + LIMIT
    while len(pids := _processes_of(launcher.pid)) < len(RANKS) or not _reached(fault, work):
        if launcher.poll() is not None or time.monotonic() > deadline:
            return
        time.sleep(0.05)
    time.sleep(random.Random(fault.delay).uniform(1, 10) if fault.phase == "start" else fault.delay)
    record(work)
    for rank, one in pids.items():
        (work / f"{rank}.pid").write_text(str(one))
    target = launcher.pid if fault.target == "launcher" else pids[int(fault.target)]
    with suppress(ProcessLookupError):
        os.kill(target, signal.Signals[fault.what])


def _reached(fault: Fault, work: Path) -> bool:
    return fault.phase == "start" or f"\n{fault.number}/" in "\n" + _printed(work, 0, "stdout")


def _processes_of(launcher: int) -> dict[int, int]:
    """Return the process id of each rank."""
    found: dict[int, int] = {}
    with suppress(OSError):
        for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
            variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            found |= {int(text[5:]): int(child) for text in variables if text.startswith(b"RANK=")}
    return found
