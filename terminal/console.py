"""Print to standard output and standard error, draw progress bars, and handle Ctrl-C."""

import json
import os
import shlex
import shutil
import signal
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

import typer
from rich.console import Console, RenderableType
from rich.text import Text

from terminal.completion import PROGRAM

MAIN = os.environ.get("RANK", "0") == "0"  # of the processes that `torchrun` starts, only the first prints


def discard(stream: IO[str]) -> None:
    """Discard all further output of a stream."""
    with suppress(OSError, ValueError):  # the stream is not a file
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        self.quiet = True
        discard(self.file)  # the base class discards standard output, also if standard error is closed
        raise SystemExit(1)


# without markup and emoji codes, because most texts contain words of the user or of a game
out = _Console(highlight=False, emoji=False, markup=False, quiet=not MAIN)
err = _Console(stderr=True, highlight=False, emoji=False, markup=False, quiet=not MAIN)
_drawing_consoles: list[Console] = []  # the terminals on which a bar, panel or spinner is drawn now, innermost last


def show(renderables: Iterable[RenderableType], pause: float = 0.0) -> None:
    """Print renderables, and wait `pause` seconds after each one. Plain strings are not wrapped."""
    for renderable in renderables:
        _console_for(out).print(renderable, soft_wrap=isinstance(renderable, str))
        if pause:
            time.sleep(pause)


def note(line: str) -> None:
    """Print one line to standard error."""
    _console_for(err).print(line, soft_wrap=True)


def note_after_interrupt(line: str) -> None:
    """Print one line to standard error, below an echoed ^C."""
    mode = _terminal_mode()
    note(f"\n{line}" if err.is_terminal and mode is not None and mode[3] & termios.ECHOCTL else line)


def _console_for(console: Console) -> Console:
    return _drawing_consoles[-1] if _drawing_consoles and console.is_terminal else console


@contextmanager
def drawing(view: AbstractContextManager[object], console: Console) -> Iterator[None]:
    """Context manager that draws `view`, such as a progress bar. `show` and `note` print above `view`."""
    if not console.is_terminal:
        with view:
            yield
        return
    _drawing_consoles.append(console)
    try:
        with without_control_echo(), view:
            yield
    finally:
        _drawing_consoles.pop()


@contextmanager
def without_control_echo() -> Iterator[None]:
    """Context manager that stops terminal echoes of control keys, such as ^C."""
    mode = _terminal_mode() if MAIN else None
    if mode is None or not mode[3] & termios.ECHOCTL:
        yield
        return
    _set_control_echo(on=False)
    try:
        yield
    finally:
        _set_control_echo(on=True)


def _set_control_echo(*, on: bool) -> None:
    with suppress(termios.error, OSError):  # the terminal is gone
        if mode := _terminal_mode():
            mode[3] = mode[3] | termios.ECHOCTL if on else mode[3] & ~termios.ECHOCTL
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, mode)


def _terminal_mode() -> list[Any] | None:
    """Return the terminal's `termios` attributes, or None if changes are impossible."""
    with suppress(termios.error, OSError, ValueError):
        mode = termios.tcgetattr(sys.stdin.fileno())
        if os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp():  # a change in the background would suspend the process
            return mode
    return None


def document(data: object) -> None:
    if MAIN:
        print(json.dumps(data, allow_nan=False, ensure_ascii=False, indent=1))  # noqa: T201


def output(data: object, renderables: Iterable[RenderableType], *, as_json: bool) -> None:
    if as_json:
        document(data)
    else:
        show(renderables)


def typed_command_line() -> str:
    program = [PROGRAM] if Path(sys.argv[0]).name == PROGRAM else ["python", "cli.py"]
    return shlex.join([*program, *sys.argv[1:]])


def command_line(*words: str) -> str:
    """Return a shell command that runs this program with the arguments `words`."""
    script, processes = sys.argv[0], os.environ.get("WORLD_SIZE", "1")
    sharded = os.environ.get("ACCELERATE_USE_FSDP") == "true"
    name = Path(script).name
    if not name.endswith(".py"):  # the script `actde`
        program = [name if shutil.which(name) else script]
    elif words[:1] == ("train",) and processes != "1":
        launch = ["accelerate", "launch", "--use_fsdp", "--fsdp_version", "2", "--num_processes"]
        program = [*(launch if sharded else ["torchrun", "--standalone", "--nproc-per-node"]), processes, script]
    else:
        python = shutil.which("python")
        is_this_python = python is not None and Path(python).parent == Path(sys.executable).parent
        program = [
            "python" if is_this_python else sys.executable,
            *(["-m", "actde"] if name == "__main__.py" else [script]),
        ]
    return shlex.join([*program, *words])


def note_saved(folder: Path | None) -> None:
    """Print where episodes are saved, and the `watch` command."""
    if folder is not None:
        note(f"the episodes are in {folder}; watch them: {command_line('watch', str(folder))}")


@contextmanager
def waiting(description: str, *, lines: bool = False) -> Iterator[None]:
    """Context manager that shows a spinner. Without a terminal, it prints the elapsed time if `lines` is true."""
    start = time.monotonic()
    view: AbstractContextManager[object] = nullcontext()
    if err.is_terminal:
        view = drawing(err.status(Text(description), spinner="dots"), err)
    elif lines:
        view = ticking(lambda: f"{description}, {time.monotonic() - start:z.0f} s")
    with view:
        yield


@contextmanager
def _progress_bar(task: str, total: float | None, *, percent: bool) -> Iterator[Callable[..., None]]:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), *([TaskProgressColumn()] if percent else []), TimeRemainingColumn())
    description = TextColumn("{task.description}", markup=False)
    progress_bar = Progress(description, *columns, console=err, transient=True, disable=not err.is_terminal)
    with drawing(progress_bar, err):
        yield partial(progress_bar.update, progress_bar.add_task(task, total=total))


@contextmanager
def progress(task: str, total: int) -> Iterator[Callable[[object], None]]:
    """Show a progress bar of `total` steps. Yield a function to call after each step."""
    with _progress_bar(task, total, percent=True) as update:
        yield lambda unit: update(advance=1)


@contextmanager
def reporting(task: str) -> Iterator[Callable[[str, float, float], None]]:
    """Show the progress of a task. Yield a function that takes (text, finished amount, total amount)."""
    start = time.monotonic()
    printed = start - 29
    with _progress_bar(task, None, percent=False) as update:

        def report(text: str, finished: float, total: float) -> None:
            nonlocal printed
            now = time.monotonic()
            if err.is_terminal:
                update(description=f"{task}: {text}", completed=finished, total=total)
            elif now - printed > 30:
                printed = now
                remaining = f", {(now - start) * (total - finished) / finished / 60:z.0f} min left" if finished else ""
                note(f"{task}: {text}, {finished / total:z.0%}{remaining}")

        yield report


@contextmanager
def resumable(
    folder: Path,
    *names: str,
    message: str = "stopped; what is finished is kept, and the same command continues",
    wait: bool = False,
) -> Iterator[None]:
    """Context manager that locks output files. Ctrl-C prints `message` and exits with status 130."""
    from games.files import exclusive

    try:
        with exclusive(folder, *names, wait=wait):
            yield
    except KeyboardInterrupt:
        note_after_interrupt(message)
        raise typer.Exit(130) from None


@contextmanager
def ticking(describe: Callable[[], str | None]) -> Iterator[None]:
    """Context manager that prints the result of `describe` after 1, 16, 31, ... seconds."""
    finished = threading.Event()

    def tick() -> None:
        seconds = 1.0
        while not finished.wait(seconds):
            if (line := describe()) is not None:
                note(line)
            seconds = 15.0

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


@contextmanager
def on_first_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """Context manager that calls `stop` at the first Ctrl-C. The second Ctrl-C raises KeyboardInterrupt."""

    def handle_first(signum: int, frame: object) -> None:
        signal.signal(signal.SIGINT, previous_handler)
        stop()

    previous_handler = signal.signal(signal.SIGINT, handle_first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous_handler)
