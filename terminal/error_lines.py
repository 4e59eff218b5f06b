"""Print errors and warnings as one line each, and set the exit status. Bugs keep tracebacks."""

import difflib
import errno
import json
import os
import re
import select
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from io import UnsupportedOperation
from pathlib import Path
from typing import Any, NoReturn, TextIO

import typer

from actde.errors import OptimizerError, closest
from actde.import_path import protect_imports
from actde.synonyms import synonyms
from actde.warning_lines import shortened, warning_line
from agents.protocol import AgentError, DivergenceError, LostProcessError
from terminal import console, help_page
from terminal.completion import INSTALLATION, PROGRAM, whole_words
from terminal.texts import one_line

PR_SET_PDEATHSIG = 1
MEMORY_FULL = "the memory is full, or a limit of this process is reached; finished work is kept; give it more memory"
DISK = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "not permitted",
    errno.ENOTDIR: "expected a folder, but this path leads through a file",
    errno.EEXIST: "expected a folder, but a file has this name",
    errno.EISDIR: "expected a file, but this is a folder",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOENT: "this folder was removed",
    errno.EFBIG: "the file is too large for the limits of this process",
    errno.EMFILE: "too many open files",
    errno.ENFILE: "too many open files",
    errno.EIO: "the disk has a fault",
    errno.ELOOP: "the path is a loop of links",
    errno.ESTALE: "the network drive is gone",
}
# Keeps the first `sys.stdout` alive, because its deletion could close file descriptor 1
_replaced_streams: list[Any] = []
GRACE_SECONDS = 2.0  # seconds in which threads may end by themselves


def run(app: Callable[..., object]) -> NoReturn:
    """Run the program, and exit with its status."""
    try:
        _run(app)
    except BrokenPipeError:
        if not _discard_broken_pipes():
            raise
        sys.exit(1)
    finally:
        _discard_broken_pipes()


def _run(app: Callable[..., object]) -> NoReturn:
    _open_streams()
    protect_imports()
    _end_with_launcher()
    warnings.formatwarning = warning_line
    # Before torch is imported: otherwise, waiting threads of several trainings keep the cores busy.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if "--json" in sys.argv:
        _reserve_standard_output()
    try:
        if "--install-completion" in sys.argv:
            console.note(INSTALLATION)
        with whole_words():
            status = app(args=sys.argv[1:] or ["--help"], prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        fail(_command_line_error(error), error.exit_code)
    except typer.Abort:
        fail("stopped", 130)
    except (DivergenceError, BrokenExecutor) as error:  # a training that diverged, or a worker process that died
        fail(str(error), 1)
    except (AgentError, OptimizerError, _game_error()) as error:
        fail(str(error), 2)
    except LostProcessError as error:
        fail(str(error), 1, ranks=("0", "1"))  # process 0 may be the lost one
    except OSError as error:
        if error.errno == errno.ENOMEM:
            _fail_without_memory(error)
        if (problem := _disk_problem(error)) is None:
            raise
        if error.errno == errno.ENOSPC:  # discard the buffered output: writing it at exit would raise the same error
            console.discard(sys.stdout)
        fail(problem, 1)
    except BaseException as error:  # out of memory, libraries raise classes of their own
        from games.errors import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        _fail_without_memory(error)
    leave(status if isinstance(status, int) else 0)


def _game_error() -> type[ValueError]:
    # importing it takes 0.1 s; if nothing has imported it, nothing has raised a GameError
    return getattr(sys.modules.get("games.errors"), "GameError", AgentError)


def leave(status: int, *, skip_teardown: bool = False) -> NoReturn:
    """Exit, even if threads still run after `GRACE_SECONDS`. `skip_teardown` skips Python's cleanup."""
    running: list[threading.Thread] = []
    try:
        running = _join_threads(GRACE_SECONDS)
    except KeyboardInterrupt:
        status, skip_teardown = 130, True
    if running:
        with suppress(SystemExit):  # standard error is closed
            console.note(f"a thread of the game is still running and ends now: {running[0].name}")
    if running or skip_teardown:
        if "games.files" in sys.modules:
            sys.modules["games.files"].remove_scratch_folder()
        _discard_broken_pipes()
        os._exit(status)
    sys.exit(status)


def _join_threads(seconds: float) -> list[threading.Thread]:
    """Wait up to `seconds` for other threads. Return the threads that still run."""
    deadline = time.monotonic() + seconds
    threads = [
        thread
        for thread in threading.enumerate()
        if thread is not threading.main_thread() and not thread.daemon and not _is_idle_worker(thread)
    ]
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [thread for thread in threads if thread.is_alive()]


def _is_idle_worker(thread: threading.Thread) -> bool:
    frame = sys._current_frames().get(thread.ident or 0)  # a thread with work is in another function
    function = frame and (frame.f_globals.get("__name__"), frame.f_code.co_name)
    return function == ("concurrent.futures.thread", "_worker")


def fail(message: str, status: int, *, ranks: Sequence[str] = ("0",), skip_teardown: bool = False) -> NoReturn:
    """Print an error in one line, and exit. Only processes with a local rank in `ranks` print."""
    line = f"error: {shortened(one_line(message))}"
    if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):  # torchrun finds the first failure in these files
        with suppress(OSError):
            Path(path).write_text(json.dumps({"message": line, "timestamp": int(time.time())}), encoding="utf-8")
    console.err.quiet = os.environ.get("LOCAL_RANK", "0") not in ranks
    try:
        with suppress(SystemExit):  # standard error is closed
            console.note(line)
    except MemoryError:  # drawing needs memory
        os.write(2, f"error: {MEMORY_FULL}\n".encode())
    leave(status, skip_teardown=skip_teardown)


def _fail_without_memory(error: BaseException) -> NoReturn:
    error.__traceback__ = None  # its frames hold memory
    message = ", or ".join([MEMORY_FULL, *getattr(error, "__notes__", ())])
    fail(message, 1, ranks=(os.environ.get("LOCAL_RANK", "0"),), skip_teardown=True)


def _disk_problem(error: OSError) -> str | None:
    """Return a message if the disk or a wrong path caused `error`, else None."""
    from games.errors import is_user_error

    if error.errno == errno.ENOENT and error.filename is None:  # from `os.getcwd` or `tempfile`
        return "the current folder was removed" if error.strerror == os.strerror(error.errno) else error.strerror
    if error.errno not in DISK or not is_user_error(error):
        return None
    return DISK[error.errno] + (f": {error.filename}" if error.filename else "")


def _discard_broken_pipes() -> bool:
    """Discard further output to broken pipes. Return whether a pipe is broken."""
    broken_pipes = [stream for stream in (sys.stdout, sys.stderr) if _is_broken_pipe(stream)]
    for stream in broken_pipes:
        console.discard(stream)  # otherwise, Python's own flush at exit would report an error
    return bool(broken_pipes)


def _is_broken_pipe(stream: TextIO) -> bool:
    with suppress(OSError, ValueError):
        stream.flush()
    with suppress(OSError, ValueError):  # the stream is not a file
        poll = select.poll()
        poll.register(stream.fileno(), 0)  # errors are always reported
        return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))
    return False


def _open_streams() -> None:
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # a file opened later could receive its output
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def _reserve_standard_output() -> None:
    """Redirect all output except `sys.stdout` to standard error."""
    with suppress(OSError, UnsupportedOperation):  # the stream is not a file
        if sys.stdout.fileno() == 1:
            sys.stdout.flush()
            reserved = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)
            os.dup2(2, 1)  # for C code, child processes and `os.write(1, ...)`
            _replaced_streams.append(sys.stdout)
            sys.stdout = reserved


def _end_with_launcher() -> None:
    """Let Linux terminate this process when torchrun dies."""
    if "TORCHELASTIC_RUN_ID" in os.environ and sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _command_line_error(error: typer.TyperException) -> str:
    from pydantic import ValidationError

    if hasattr(error, "possibilities") and hasattr(error, "option_name"):
        return _unknown_option(error.option_name, getattr(error, "ctx", None))
    message, cause = error.format_message(), error.__cause__
    if message.startswith("Got unexpected extra argument") and (context := getattr(error, "ctx", None)):
        return f"{message}; list the options: {help_page.shell_command(context)} --help"
    match = re.fullmatch(r"Invalid value for '(.+)': Input should be (.+?)(, unable to parse .+)?", message)
    if match is None or not isinstance(cause, ValidationError):
        return message.removeprefix("Invalid value: ")
    name, expected, not_a_number = match.groups()
    value = cause.errors()[0]["input"]
    return f"{name} must be {expected}, got {repr(value) if not_a_number else value}"


def _unknown_option(option: str, context: Any) -> str:
    from agents.config import FIELDS
    from terminal.options import ConfigCommand

    message, setting = f"No such option: {one_line(option)}", option.lstrip("-").replace("-", "_")
    if context is None:
        return message
    group = getattr(context.parent, "command", context.command)
    other_commands = [
        name
        for name, command in getattr(group, "commands", {}).items()
        if option in _options(command) or (setting in FIELDS and isinstance(command, ConfigCommand))
    ]
    options = {name.lstrip("-").replace("-", "_"): name for name in _options(context.command) if name.startswith("--")}
    similar = synonyms(setting, set(options)) or difflib.get_close_matches(setting, options, n=1, cutoff=0.9)
    if other_commands and not similar:
        return f"{message}; it is an option of {', '.join(other_commands)}"
    suggestion = " or ".join(options[name] for name in similar or closest(setting, options))
    if suggestion:
        return f"{message}; did you mean {suggestion}?"
    return f"{message}; list the options: {help_page.shell_command(context)} --help"


def _options(command: Any) -> list[str]:
    return [name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)]
