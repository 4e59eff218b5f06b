"""Fork the worker processes of a command after all imports. A new interpreter would need seconds for the imports.

`install` replaces `subprocess.Popen` in a command's process, and forks a server before the command begins. If the
command starts Python code with `-c`, as `games.child_process.Child` does, the server forks a worker for this code. The
worker has all imported modules, but no other state of the command. The command's process then adopts the worker, which
thus becomes its child, as if `Popen` had started it.
"""

import atexit
import contextlib
import ctypes
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
FREE = 200  # above all file descriptors of a command


class Popen(subprocess.Popen[Any]):
    """A child process. If it runs Python code (`python -c`), the server forks it (see `install`)."""

    server: socket.socket

    def _execute_child(self, args: Any, executable: Any, *rest: Any) -> None:
        """Start the child. This overrides a private method, which has these arguments in Python 3.11 to 3.13."""
        _, _, pass_fds, cwd, env, _, _, _, *ends, _, _, _, _, _, new_session, _ = rest
        if [*args[:2]] != [sys.executable, "-c"]:
            super()._execute_child(args, executable, *rest)  # type: ignore[misc]
            return
        standard = [end if end != -1 else number for number, end in enumerate((ends[0], ends[3], ends[5]))]
        request = {"code": args[2], "descriptors": [0, 1, 2, *pass_fds], "cwd": str(cwd or Path.cwd()),
                   "env": env, "new_session": new_session}  # fmt: skip
        socket.send_fds(self.server, [json.dumps(request).encode()], [*standard, *pass_fds])
        self.pid = int(self.server.recv(100))
        self._child_created = True
        self._close_pipe_fds(*ends)  # type: ignore[attr-defined]


def adopt_orphans() -> None:
    """Let this process become the parent of its descendants whose parents have ended."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_with_parent() -> None:
    """Let the kernel kill this process when its parent ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def install(modules: Path) -> None:
    """From now on, fork the workers of this process. Each appends the names of its modules to a file when it ends."""
    adopt_orphans()
    Popen.server, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if not os.fork():
        end_with_parent()
        _serve(theirs, modules)
    theirs.close()
    subprocess.Popen = Popen  # type: ignore[misc]


def _serve(server: socket.socket, modules: Path) -> NoReturn:
    """Fork a worker for each request, until the process that sends the requests ends."""
    answer = mmap.mmap(-1, 100)
    while True:
        request, received, _, _ = socket.recv_fds(server, 1_000_000, 10)
        if not (between := os.fork()):
            if worker := os.fork():
                answer[:10] = b"%010d" % worker
                os._exit(0)  # the process that has sent the request adopts the worker
            for closed in (server, Popen.server):
                closed.detach()  # otherwise Python closes the number again later, when it is that of another file
            _be_worker(json.loads(request), received, modules)
        os.waitpid(between, 0)
        server.send(answer[:10])
        for descriptor in received:
            os.close(descriptor)


def _be_worker(request: Mapping[str, Any], received: Sequence[int], modules: Path) -> NoReturn:
    """Run the code of a request as a new interpreter would, and end the process."""
    for index, descriptor in enumerate(received):
        os.dup2(descriptor, FREE + index)
    for index, target in enumerate(request["descriptors"]):
        os.dup2(FREE + index, target)
    for descriptor in set(range(FREE + len(received))) - set(request["descriptors"]):
        with contextlib.suppress(OSError):
            os.close(descriptor)
    if request["new_session"]:
        os.setsid()
    os.chdir(request["cwd"])
    os.environ.update(request["env"] or {})
    exit_now = os._exit

    def record_and_exit(status: int) -> NoReturn:
        record_modules(modules)
        exit_now(status)

    os._exit = record_and_exit
    install(modules)
    end_after(lambda: exec(request["code"], {"__name__": "__main__"}))


def record_modules(path: Path) -> None:
    """Append to a file the names of all modules that this process has imported."""
    with path.open("a") as file:
        file.write("\n".join({*sys.modules} - {"__main__", "sitecustomize"}) + "\n")


def end_after(work: Callable[[], object]) -> NoReturn:
    """Call a function in a forked process, and then end the process as the interpreter normally does.

    Errors are printed, exit handlers are called and streams are flushed. The exit status is that of a Python program.
    """
    status = 1
    try:
        result = work()
        status = result if isinstance(result, int) else 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001  never return to the code of the parent
        traceback.print_exc()
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        with contextlib.suppress(OSError, ValueError):  # the code may have closed them
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)
