"""Train in two processes that are forked after all imports, and inject faults into them.

`torchrun` starts each process in a session of its own. When one process fails, `torchrun` ends the others. The launcher
in this module, a forked process, does the same, with the same environment variables. Without supervision, the launcher
starts the processes but does not end them, as a script on each machine does.
"""

import gc
import importlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial, reduce
from itertools import count
from pathlib import Path
from typing import Any

from agents.storage.checkpoint_files import checkpoints
from benchmarks.faults import forked_workers, processes
from benchmarks.faults.result import Result

RANKS = range(2)
LIMIT = 240.0  # seconds until a run hangs; the machine may be busy
POLL, GRACE = 0.1, 30.0  # torchrun's interval between two checks, and its time between SIGTERM and SIGKILL
PHASES = {
    "start": ("agents.training.factory", "_build"),
    "rollout": ("agents.training.trainer", "play_rollout"),
    "update": ("agents.training.updater", "Updater._step"),
    "checkpoint": ("agents.training.trainer", "save_checkpoint"),
    "disk": ("agents.storage.run_folder", "RunFolder.sync"),
    "gather": ("agents.training.updater", "gather_trunk"),
    "backward": ("torch", "Tensor.backward"),
}
"""Phase of a run -> module and name of a function that each process calls in this phase."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault that a process causes when it calls the function of a phase for the `number`-th time.

    Attributes:
        what: name of a signal, or "full" for a write that finds no space.
        target: "0", "1" or "launcher", to which process 0 sends the signal.
        delay: seconds between the call and the signal.
    """

    what: str
    target: str
    phase: str
    number: int
    delay: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """The exit status of a run's launcher, and the status and output of each process.

    `seconds` is the time from the fault to the end of the last process, or None without a fault.
    """

    launcher: Result
    ranks: Sequence[Result]
    seconds: float | None = None


def prepare() -> None:
    """Import the packages of a training run, and adopt the orphans of killed launchers."""
    for name in ("agents.training.factory", "games.textworld.env", "transformers.models.gpt2.modeling_gpt2",
                 "torch.utils.tensorboard", "typer", "rich.live"):  # fmt: skip
        importlib.import_module(name)
    gc.freeze()
    forked_workers.adopt_orphans()


def run(
    words: Sequence[str], work: Path, variables: dict[str, str], fault: Fault | None, *, supervised: bool
) -> Launch:
    """Run the command line in two processes and wait for all processes."""
    if not (launcher := os.fork()):
        forked_workers.end_after(lambda: _launch(words, work, variables, fault, supervised=supervised))
    statuses = processes.wait_for_all(LIMIT)
    seconds = since_fault(work, fault.delay) if fault else None
    printed = [(_text(work / f"{rank}.out"), _text(work / f"{rank}.err")) for rank in RANKS]
    return collect(statuses, launcher, work, printed, seconds)


def since_fault(work: Path, delay: float = 0.0) -> float | None:
    """Return the seconds since the fault, which came `delay` seconds after the call of `record`, or None."""
    injected = work / "injected"
    return round(time.time() - injected.stat().st_mtime - delay, 1) if injected.exists() else None


def collect(
    statuses: dict[int, int], launcher: int, work: Path, printed: Sequence[tuple[str, str]], seconds: float | None
) -> Launch:
    """Return the results of a run from exit statuses by process id, and each rank's output and errors."""
    ranks = []
    for rank, (out, err) in enumerate(printed):
        ranks.append(Result(status=statuses.get(int(_text(work / f"{rank}.pid") or 0)), out=out, err=err))
    return Launch(launcher=Result(status=statuses.get(launcher)), ranks=ranks, seconds=seconds)


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def _launch(
    words: Sequence[str], work: Path, variables: dict[str, str], fault: Fault | None, *, supervised: bool
) -> int:
    """Act as the launcher: start the processes, and return the launcher's exit status after all have ended."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _raise_signal)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        variables = variables | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
    if supervised:
        variables |= {"TORCHELASTIC_RUN_ID": "none"}
    processes = []
    for rank in RANKS:
        if not (process := os.fork()):
            forked_workers.end_after(partial(_be_rank, rank, words, work, variables, fault))
        (work / f"{rank}.pid").write_text(str(process))
        processes.append(process)
    try:
        while not all(_is_over(process) for process in processes):
            failed = [process for process in processes if _is_over(process) and _status(process)]
            if failed and supervised:
                _end(processes, signal.SIGTERM)
            time.sleep(POLL)
    except KeyboardInterrupt as interrupt:
        _end(processes, interrupt.args[0])
        return 1
    return int(any(_status(process) for process in processes))


def _raise_signal(number: int, frame: object) -> None:
    raise KeyboardInterrupt(number)


def _end(processes: Sequence[int], number: int) -> None:
    """Send a signal to the running processes, and SIGKILL to those that still run after torchrun's grace period."""
    deadline = time.monotonic() + GRACE
    while running := [process for process in processes if not _is_over(process)]:
        late = time.monotonic() > deadline
        if late or number:
            for process in running:
                os.kill(process, signal.SIGKILL if late else number)
        number = 0
        time.sleep(POLL)


def _is_over(process: int) -> bool:
    """Return whether a child has ended. The child stays a zombie, so that the benchmark can read its status later."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _status(process: int) -> int:
    result = os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
    assert result is not None
    return result.si_status


def _be_rank(rank: int, words: Sequence[str], work: Path, variables: dict[str, str], fault: Fault | None) -> None:
    """Act as one of the two processes: run the command line."""
    os.setsid()
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(work / f"{rank}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    os.environ |= variables
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if fault and rank == (0 if fault.target == "launcher" else int(fault.target)):
        inject(fault, work)
    sys.argv = ["cli.py", *words]
    importlib.import_module("cli").main()


def inject(fault: Fault, work: Path) -> None:
    """Replace the function of the phase by one that causes the fault and calls the original function."""
    module, path = PHASES[fault.phase]
    *classes, name = path.split(".")
    owner: Any = reduce(getattr, classes, importlib.import_module(module))
    original, calls = getattr(owner, name), count(1)

    def counted(*arguments: Any, **options: Any) -> Any:
        if next(calls) == fault.number:
            _cause(fault, work)
        return original(*arguments, **options)

    setattr(owner, name, counted)


def record(work: Path) -> None:
    """Write the name of the newest checkpoint to the file `injected`. Call this at the time of the fault."""
    saved = checkpoints(work / "run")
    (work / "injected").write_text(saved[-1].name if saved else "000000")


def _cause(fault: Fault, work: Path) -> None:
    record(work)
    if fault.what == "full":
        raise OSError(28, "No space left on device", str(work / "run"))
    process = os.getppid() if fault.target == "launcher" else os.getpid()
    timer = threading.Timer(fault.delay, os.kill, (process, signal.Signals[fault.what]))
    timer.daemon = True
    timer.start()
