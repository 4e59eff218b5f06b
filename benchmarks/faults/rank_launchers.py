"""Runs of two processes that `torchrun` or `accelerate launch` starts."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from agents.storage.checkpoint import checkpoints
from benchmarks.faults.rank_launch import LIMIT, RANKS, Ended, Strike, wait

ROOT = Path(__file__).resolve().parents[2]
LAUNCHERS = {
    "torchrun": ("torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
    "accelerate": ("accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"),
}
SEPARATE = {"torchrun": ("--redirects", "3", "--log-dir"), "accelerate": ("--tee", "3", "--log_dir")}
"""Options that write what each process prints to files, apart from what the launcher prints."""


def run(words: Sequence[str], work: Path, variables: dict[str, str], strike: Strike | None, launcher: str) -> Ended:
    """Start the command line with the launcher, send the signal of the strike, and wait for all processes.

    The signal is sent at a random time: before the first iteration in the phase "start", and otherwise after iteration
    `strike.number`.
    """
    begin, options = time.monotonic(), (*LAUNCHERS[launcher], *SEPARATE[launcher], str(work / "logs"))
    environment = os.environ | variables | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    with (work / "launcher.err").open("w") as err:
        process = subprocess.Popen([sys.executable, "-m", *options, "cli.py", *words], cwd=ROOT, env=environment,
                                   stdout=err, stderr=err, start_new_session=True)  # fmt: skip
    if strike:
        _send(strike, process, work)
    ended = wait(process.pid, work)
    process.returncode = ended.launcher
    ended.seconds = time.monotonic() - begin
    ended.out, ended.err = ([_printed(work, rank, name) for rank in RANKS] for name in ("stdout", "stderr"))
    return ended


def _printed(work: Path, rank: int, name: str) -> str:
    return "".join(path.read_text(errors="replace") for path in (work / "logs").rglob(f"{rank}/{name}.log"))


def _send(strike: Strike, launcher: subprocess.Popen[bytes], work: Path) -> None:
    """Send the signal of a strike when the run has reached its phase."""
    deadline = time.monotonic() + LIMIT
    while len(processes := _processes_of(launcher.pid)) < len(RANKS) or not _reached(strike, work):
        if launcher.poll() is not None or time.monotonic() > deadline:
            return
        time.sleep(0.05)
    time.sleep(random.Random(strike.delay).uniform(1, 10) if strike.phase == "start" else strike.delay)
    saved = checkpoints(work / "run")
    (work / "struck").write_text(saved[-1].name if saved else "000000")
    for rank, one in processes.items():
        (work / f"{rank}.pid").write_text(str(one))
    target = launcher.pid if strike.target == "launcher" else processes[int(strike.target)]
    with suppress(ProcessLookupError):
        os.kill(target, signal.Signals[strike.what])


def _reached(strike: Strike, work: Path) -> bool:
    return strike.phase == "start" or f"\n{strike.number}/" in "\n" + _printed(work, 0, "stdout")


def _processes_of(launcher: int) -> dict[int, int]:
    """Return the process of each rank."""
    found: dict[int, int] = {}
    with suppress(OSError):
        for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
            variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            found |= {int(text[5:]): int(child) for text in variables if text.startswith(b"RANK=")}
    return found
