"""Standard output and standard error: printing, input, progress bars, and Ctrl-C."""

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
from pathlib import Path
from typing import IO, Any, TypeVar

import typer
from rich.console import Console, RenderableType
from rich.text import Text

from terminal.completion import PROGRAM

View = TypeVar("View")

MAIN = os.environ.get("RANK", "0") == "0"  # of the processes that `torchrun` starts, only the first prints


def discard(stream: IO[str]) -> None:
    """Redirect a stream to the null device, which discards all further output."""
    with suppress(OSError, ValueError):  # the stream is not a file
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


class _Console(Console):
    """A console that ends the program silently if it prints to a pipe that the reader has closed."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        discard(self.file)  # the base class discards standard output, also if standard error is closed
        raise SystemExit(1)


# without markup and emoji codes, because most texts contain words of the user or of a game
out = _Console(highlight=False, emoji=False, markup=False, quiet=not MAIN)
err = _Console(stderr=True, highlight=False, emoji=False, markup=False, quiet=not MAIN)
_drawing: list[Console] = []
"""The terminals on which a bar, panel or spinner is drawn now, innermost last."""


def show(things: Iterable[RenderableType], pause: float = 0.0) -> None:
    """Print things, and wait `pause` seconds after each of them. Plain strings are not wrapped."""
    for thing in things:
        _above(out).print(thing, soft_wrap=isinstance(thing, str))
        if pause:
            time.sleep(pause)


def ask() -> str:
    """Read a line from standard input, without spaces at its ends."""
    return input(" > ").strip()


def note(line: str) -> None:
    """Print one line to standard error."""
    _above(err).print(line, soft_wrap=True)


def note_after_interrupt(line: str) -> None:
    """Print one line to standard error after Ctrl-C, below the ^C that the terminal may have echoed."""
    mode = _terminal_mode()
    note(f"\n{line}" if err.is_terminal and mode is not None and mode[3] & termios.ECHOCTL else line)


def _above(console: Console) -> Console:
    """Return the console of the bar that is drawn in the terminal, if any, so that text appears above the bar.

    Otherwise return `console`.
    """
    return _drawing[-1] if _drawing and console.is_terminal else console


@contextmanager
def drawing(view: AbstractContextManager[View], console: Console) -> Iterator[View]:
    """Draw a bar, panel or spinner (`view`) while the block runs, if `console` is a terminal.

    Meanwhile, `show` and `note` print above the view, and Ctrl-C does not damage it. If `console` is no terminal, only
    enter the context `view`.
    """
    if not console.is_terminal:
        with view as entered:
            yield entered
        return
    _drawing.append(console)
    try:
        with without_control_echo(), view as entered:
            yield entered
    finally:
        _drawing.pop()


@contextmanager
def without_control_echo() -> Iterator[None]:
    """Stop the terminal from echoing control keys while the block runs. An echoed ^C would damage a drawn bar."""
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
    """Return the mode (`termios.tcgetattr`) of the terminal that standard input reads, or None if it is no terminal.

    Also return None if this process is in the background, because changing the mode would then suspend the process.
    """
    with suppress(termios.error, OSError, ValueError):
        handle = sys.stdin.fileno()
        mode = termios.tcgetattr(handle)
        if os.tcgetpgrp(handle) == os.getpgrp():
            return mode
    return None


def document(data: object) -> None:
    """Print one JSON document to standard output."""
    if MAIN:
        print(json.dumps(data, allow_nan=False, ensure_ascii=False, indent=1))  # noqa: T201


def output(data: object, things: Iterable[RenderableType], *, as_json: bool) -> None:
    """Print `data` as one JSON document if `as_json` is true. Otherwise, print `things`."""
    if as_json:
        document(data)
    else:
        show(things)


def typed() -> str:
    """Return the command line that the user typed, in the form `actde ...` or `python cli.py ...`."""
    program = [PROGRAM] if Path(sys.argv[0]).name == PROGRAM else ["python", "cli.py"]
    return shlex.join([*program, *sys.argv[1:]])


def command_line(*words: str) -> str:
    """Return a shell command that runs this program with the arguments `words`.

    The program is started as the user started this process, for example by `actde` or `python cli.py`. In a run of
    several processes, `train` is started by `torchrun`, or by `accelerate launch` if the trunk is sharded.
    """
    script, processes = sys.argv[0], os.environ.get("WORLD_SIZE", "1")
    sharded = os.environ.get("ACCELERATE_USE_FSDP") == "true"
    name = Path(script).name
    if not name.endswith(".py"):  # the script `actde`
        program = [name if shutil.which(name) else script]
    elif words[:1] == ("train",) and processes != "1":
        launch = ["accelerate", "launch", "--use_fsdp", "--fsdp_version", "2", "--num_processes"]
        program = [*(launch if sharded else ["torchrun", "--standalone", "--nproc-per-node"]), processes, script]
    else:
        found = shutil.which("python")
        same = found is not None and Path(found).parent == Path(sys.executable).parent
        program = ["python" if same else sys.executable, *(["-m", "actde"] if name == "__main__.py" else [script])]
    return shlex.join([*program, *words])


def note_saved(folder: Path | None) -> None:
    """Print where episodes were saved, and the command that watches them, unless `folder` is None."""
    if folder is not None:
        note(f"the episodes are in {folder}; watch them: {command_line('watch', str(folder))}")


@contextmanager
def waiting(what: str, *, lines: bool = False) -> Iterator[None]:
    """Show a spinner beside the text `what` while the block runs, if standard error is a terminal.

    If it is no terminal and `lines` is true, print lines with `what` and the elapsed time instead (see `ticking`).
    """
    start = time.monotonic()
    spinner = drawing(err.status(Text(what), spinner="dots"), err) if err.is_terminal else nullcontext()
    told = ticking(lambda: f"{what}, {time.monotonic() - start:z.0f} s", enabled=lines and not err.is_terminal)
    with spinner, told:
        yield


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[object], None]]:
    """Show a progress bar beside the text `what`, if standard error is a terminal.

    Yield a function to call after each of the `total` units of work. It ignores its argument.
    """
    from rich.progress import Progress, TextColumn

    columns = (TextColumn("{task.description}", markup=False), *Progress.get_default_columns()[1:])
    with drawing(Progress(*columns, console=err, transient=True, disable=not err.is_terminal), err) as bar:
        task = bar.add_task(what, total=total)
        yield lambda unit: bar.advance(task)


@contextmanager
def reporting(what: str) -> Iterator[Callable[[str, float, float], None]]:
    """Show a bar if standard error is a terminal. Otherwise, print a line after a second and then every 30 seconds.

    Yield a function that takes a text to show after `what`, the work done so far, and the total work.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    start = time.monotonic()
    printed = start - 29
    with drawing(Progress(*columns, console=err, transient=True, disable=not err.is_terminal), err) as bar:
        task = bar.add_task(what, total=None)

        def report(text: str, done: float, total: float) -> None:
            nonlocal printed
            now = time.monotonic()
            if err.is_terminal:
                bar.update(task, description=f"{what}: {text}", completed=done, total=total)
            elif now - printed > 30:
                printed = now
                left = f", {(now - start) * (total - done) / done / 60:z.0f} min left" if done else ""
                note(f"{what}: {text}, {done / total:z.0%}{left}")

        yield report


@contextmanager
def resumable(
    folder: Path,
    *names: str,
    message: str = "stopped; what is finished is kept, and the same command continues",
    wait: bool = False,
) -> Iterator[None]:
    """Hold the lock of an output folder, or of the files `names` in it, while the block writes to it.

    `games.files.exclusive` explains the lock. On Ctrl-C, print `message` and exit with status 130.
    """
    from games.files import exclusive

    try:
        with exclusive(folder, *names, wait=wait):
            yield
    except KeyboardInterrupt:
        note_after_interrupt(message)
        raise typer.Exit(130) from None


@contextmanager
def ticking(describe: Callable[[], str | None], *, enabled: bool = True) -> Iterator[None]:
    """While the block runs, print a line after one second and then every 15 seconds, if `enabled`.

    `describe` returns the line, or None if there is nothing to print. It is called in another thread.
    """
    done = threading.Event()

    def tick() -> None:
        wait = 1.0
        while not done.wait(wait):
            if (line := describe()) is not None:
                note(line)
            wait = 15.0

    thread = threading.Thread(target=tick, daemon=True)
    if enabled:
        thread.start()
    try:
        yield
    finally:
        done.set()
        if enabled:
            thread.join()


@contextmanager
def on_first_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """While the block runs, the first Ctrl-C calls `stop`. The second one raises KeyboardInterrupt as usual."""

    def first(signum: int, frame: object) -> None:
        signal.signal(signal.SIGINT, before)
        stop()

    before = signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
