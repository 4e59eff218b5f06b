"""Runs of two processes that are forked after all imports, and the faults that strike them.

`torchrun` starts each process in a session of its own. When one of them fails, `torchrun` ends the others. The forked
launcher does the same, with the same environment variables. Without supervision, it only starts the processes, as a
script on each machine does.
"""

import gc
import importlib
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from agents.storage.checkpoint import checkpoints
from benchmarks.faults import forked_workers

RANKS = range(2)
LIMIT = 240.0  # seconds until a run hangs; the machine may be busy
POLL, GRACE = 0.1, 30.0  # torchrun's interval between two checks, and its time between SIGTERM and SIGKILL
PHASES = {
    "start": ("agents.training.factory", "_build"),
    "rollout": ("agents.training.trainer", "play_rollout"),
    "update": ("agents.training.updater", "Updater._step"),
    "checkpoint": ("agents.training.trainer", "save_checkpoint"),
    "disk": ("agents.storage.run_folder", "RunFolder.sync"),
}
"""Phase of a run -> module and name of a function that each process calls in this phase."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """A fault that a process causes when it calls the function of a phase for the `number`-th time.

    Attributes:
        what: name of a signal, or "full" for a write that finds no space.
        target: "0" or "1" for a process, or "launcher". Process 0 causes the faults of the launcher.
        delay: seconds between the call and the signal.
    """

    what: str
    target: str
    phase: str
    number: int
    delay: float


@dataclass(slots=True, kw_only=True)
class Ended:
    """A run that has ended.

    Attributes:
        launcher: exit status of the launcher. It is negative after a signal.
        statuses: exit status of each process. It is missing if the launcher has not started the process.
        out: standard output of each process.
        err: standard error of each process.
        hung: whether the run was killed after `LIMIT` seconds.
    """

    launcher: int | None = None
    statuses: dict[int, int] = field(default_factory=dict)
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)
    hung: bool = False
    seconds: float = 0.0


def prepare() -> None:
    """Import the packages of a training run, and adopt the orphans of killed launchers."""
    for name in ("agents.training.factory", "games.textworld.env", "transformers.models.gpt2.modeling_gpt2",
                 "torch.utils.tensorboard", "typer", "rich.live"):  # fmt: skip
        importlib.import_module(name)
    gc.freeze()
    forked_workers.adopt_orphans()


def run(
    words: Sequence[str], work: Path, variables: dict[str, str], strike: Strike | None, *, supervised: bool
) -> Ended:
    """Run the command line in two processes and wait for all processes."""
    begin, launcher = time.monotonic(), os.fork()
    if not launcher:
        _never_return(lambda: _launch(words, work, variables, strike, supervised=supervised))
    ended = wait(launcher, work)
    ended.seconds = time.monotonic() - begin
    ended.out, ended.err = ([_text(work / f"{rank}.{name}") for rank in RANKS] for name in ("out", "err"))
    return ended


def wait(launcher: int, work: Path) -> Ended:
    """Wait for all children of this process. They include the orphans of the launcher. Kill them after the limit."""
    ended, found, deadline = Ended(), dict[int, int](), time.monotonic() + LIMIT
    with suppress(ChildProcessError):
        while True:
            process, status = os.waitpid(-1, os.WNOHANG)
            if process:
                found[process] = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > deadline:
                ended.hung = True
                for one in (launcher, *_processes(work).values()):
                    with suppress(ProcessLookupError):
                        os.kill(one, signal.SIGKILL)
            else:
                time.sleep(0.02)
    ended.launcher = found.get(launcher)
    ended.statuses = {rank: found[one] for rank, one in _processes(work).items() if one in found}
    return ended


def _processes(work: Path) -> dict[int, int]:
    return {rank: int(text) for rank in RANKS if (text := _text(work / f"{rank}.pid"))}


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def _launch(
    words: Sequence[str], work: Path, variables: dict[str, str], strike: Strike | None, *, supervised: bool
) -> int:
    """Be the launcher: start the processes, and return the exit status after all have ended."""
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
            _never_return(lambda rank=rank: _be_rank(rank, words, work, variables, strike))  # type: ignore[misc]
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
    """Send a signal to the processes that run, and SIGKILL after the time that torchrun leaves them."""
    deadline = time.monotonic() + GRACE
    while running := [process for process in processes if not _is_over(process)]:
        late = time.monotonic() > deadline
        if late or number:
            for process in running:
                os.kill(process, signal.SIGKILL if late else number)
        number = 0
        time.sleep(POLL)


def _is_over(process: int) -> bool:
    """Return whether a child has ended. It stays a zombie, so that the benchmark can adopt it."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _status(process: int) -> int:
    result = os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
    assert result is not None
    return result.si_status


def _be_rank(rank: int, words: Sequence[str], work: Path, variables: dict[str, str], strike: Strike | None) -> None:
    """Be one of the two processes: run the command line."""
    os.setsid()
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(work / f"{rank}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    os.environ |= variables
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if strike and rank == (0 if strike.target == "launcher" else int(strike.target)):
        arm(strike, work)
    sys.argv = ["cli.py", *words]
    importlib.import_module("cli").main()


def arm(strike: Strike, work: Path) -> None:
    """Replace the function of the phase by one that causes the fault and calls the original function."""
    module, name = PHASES[strike.phase]
    owner: Any = importlib.import_module(module)
    *classes, name = name.split(".")
    for each in classes:
        owner = getattr(owner, each)
    original, calls = getattr(owner, name), 0

    def armed(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == strike.number:
            _strike(strike, work)
        return original(*arguments, **options)

    setattr(owner, name, armed)


def _strike(strike: Strike, work: Path) -> None:
    saved = checkpoints(work / "run")
    (work / "struck").write_text(saved[-1].name if saved else "000000")
    if strike.what == "full":
        raise OSError(28, "No space left on device", str(work / "run"))
    process = os.getppid() if strike.target == "launcher" else os.getpid()
    timer = threading.Timer(strike.delay, os.kill, (process, signal.Signals[strike.what]))
    timer.daemon = True
    timer.start()


def _never_return(work: Callable[[], object]) -> NoReturn:
    """Call a function in a forked process, and end the process as Python would."""
    status = 1
    try:
        result = work()
        status = result if isinstance(result, int) else 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001  as in a process that was not forked
        traceback.print_exc()
    finally:
        forked_workers.end(status)
