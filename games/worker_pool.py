"""A pool of worker processes."""

import importlib
import os
import queue
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, ParamSpec, Self, TypeVar

from games.child_process import GRACE, Child
from games.errors import GameError, is_out_of_memory

P = ParamSpec("P")
T = TypeVar("T")
# in a worker process, the function that sends a text for the parent process to print
_send: Callable[[str], None] | None = None
KEPT = "finished work is kept, and the same command continues"


class WorkerPool:
    """A pool of worker processes, by default one per CPU and at most 32. Leaving the context ends the processes."""

    restarts = False  # whether a job runs again if its process is lost

    def __init__(self, size: int | None = None) -> None:
        if size is not None and not 1 <= size <= 256:
            raise GameError(f"--workers {size}: expected a whole number from 1 to 256")
        self.size = min(available_cpus(), 32) if size is None else size
        self._threads = ThreadPoolExecutor(self.size)  # each job waits in a thread for an idle worker
        self._workers: list[Child] = []
        self._idle: queue.SimpleQueue[Child] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.process.terminate()
        deadline = time.monotonic() + GRACE
        for worker in self._workers:
            worker.end(max(0.0, deadline - time.monotonic()))
        self._threads.shutdown()

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call a top-level function in a worker.

        The future raises a ValueError or OSError of the function, and `BrokenExecutor` after any other error.
        """
        if len(self._workers) < self.size:
            # unlike a process of `multiprocessing`, a `Child` does not import the user's script
            self._workers.append(Child(serve, stdout=2))
            self._idle.put(self._workers[-1])
        return self._threads.submit(self._run, (module_of(function), function.__name__, args, kwargs))

    def _run(self, job: tuple[Any, ...]) -> Any:
        worker = self._idle.get()
        try:
            worker.connection.send(job)
            succeeded, result = worker.connection.recv()
            while succeeded is None:
                with suppress(BrokenPipeError):  # nobody reads standard error
                    sys.stderr.write(result)
                succeeded, result = worker.connection.recv()
        except (EOFError, ConnectionError):
            raise BrokenExecutor(f"a worker process died in {job[1]} ({worker.why_it_ended()}); {KEPT}") from None
        finally:
            self._idle.put(worker)
        if succeeded:
            return result
        raise result


def module_of(function: Callable[..., object]) -> str:
    """Return the name with which another process can import the function's module."""
    module = function.__module__
    if module == "__main__":  # the module was run by `python -m`
        module = sys.modules[module].__spec__.name  # type: ignore[union-attr]
    return module


def note(line: str) -> None:
    """Print a line to standard error. In a worker, the parent prints the line."""
    (_send or sys.stderr.write)(f"{line}\n")


def send_notes(send: Callable[[str], None]) -> None:
    """Make `note` call `send(line)` instead of printing."""
    global _send
    _send = send


def serve(connection: Connection) -> None:
    """In a worker, run the jobs that `connection` receives."""
    send_notes(lambda text: connection.send((None, text)))
    while True:
        try:
            job = connection.recv()
        except (EOFError, ConnectionError):  # the parent is gone
            return
        answer = run_job(*job)
        with suppress(ConnectionError):
            connection.send(answer)


def run_job(module: str, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[bool, Any]:
    """Call a function. Return (True, result) or (False, error for the parent to raise)."""
    try:
        return True, getattr(importlib.import_module(module), name)(*args, **kwargs)
    except (ValueError, OSError) as error:
        error.add_note(f"In a worker process:\n{traceback.format_exc()}")
        return False, error
    except BrokenExecutor as error:  # a program that the job has started was killed
        return False, error
    except (MemoryError, RuntimeError, ImportError) as error:
        if not is_out_of_memory(error):
            raise
        return False, BrokenExecutor(f"a worker process ran out of memory in {name}; use fewer workers; {KEPT}")


def available_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
