"""Run jobs on a Ray cluster, through the interface of `WorkerPool`."""

import os
import platform
import re
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, Future
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar

from games.child_process import python_environment
from games.errors import GameError
from games.files import create_folder, scratch_folder
from games.worker_pool import KEPT, WorkerPool, available_cpus, module_of, run_job, send_notes

P = ParamSpec("P")
T = TypeVar("T")
ADDRESS = re.compile(r"(?P<host>[\w.-]+|\[[\da-fA-F:]+\]):(?P<port>\d+)")
LOCAL = "local"  # the `address` that starts Ray on this machine
# Maximum number of times that Ray runs a job again. Two kinds of failure are counted separately: the job's process or
# machine was lost, or Ray ended the job because the memory was full.
RETRIES = 10
STORE_BYTES = (
    100_000_000  # size of Ray's shared memory in bytes, if Ray is started here. The results of jobs are small.
)


class ClusterPool:
    """A context manager that runs jobs on a Ray cluster. Leaving the context ends the jobs.

    Args:
        address: HOST:PORT of the cluster, or `local` to start Ray on this machine.
        output: output folder. All machines must share this folder and the current folder.
        cpus: CPUs for each job.
        gpus: whether each job gets a GPU. A cluster without GPUs ignores this argument.
    """

    restarts = True

    def __init__(self, address: str, output: Path, *, cpus: int = 1, gpus: bool = False) -> None:
        self._cpus, self._jobs = cpus, list[Future[Any]]()
        self._folder, self._marker = Path.cwd(), output.absolute() / f".cluster-{os.getpid()}-{secrets.token_hex(4)}"
        self._sigterm = signal.getsignal(signal.SIGTERM)
        self._ray = _connect(address, cpus)
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # Ray's handler aborts
        resources = {"num_cpus": cpus, "num_gpus": int(gpus and "GPU" in self._ray.cluster_resources())}
        self._task = self._ray.remote(max_retries=RETRIES, **resources)(_run_in_folder)

    def __enter__(self) -> Self:
        create_folder(self._marker.parent)
        self._marker.touch()
        return self

    def __exit__(self, *error: object) -> None:
        for job in self._jobs:
            job.cancel()
        self._ray.shutdown()
        signal.signal(signal.SIGTERM, self._sigterm)
        self._marker.unlink(missing_ok=True)

    @property
    def size(self) -> int:
        """Number of jobs that can run at the same time."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 0)) // self._cpus)

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call a top-level function on the cluster. Cancelling the returned future ends the call."""
        job: Future[T] = Future()
        task = self._task.remote((module_of(function), function.__name__, args, kwargs), self._folder, self._marker)
        job.add_done_callback(lambda job: self._ray.cancel(task, force=True) if job.cancelled() else None)
        task.future().add_done_callback(partial(self._finish, job, function.__name__))
        self._jobs.append(job)
        return job

    def _finish(self, job: Future[Any], name: str, ray_future: Future[Any]) -> None:
        if not job.set_running_or_notify_cancel():
            return
        try:
            notes, succeeded, result = ray_future.result()
        except self._ray.exceptions.RayTaskError as error:  # a bug
            notes, succeeded = [str(error)], False
            result = BrokenExecutor(f"a worker process died in {name} ({type(error.cause).__name__}); {KEPT}")
        except self._ray.exceptions.RayError as error:
            notes, succeeded = [], False
            result = BrokenExecutor(f"the cluster lost {name} {RETRIES + 1} times ({type(error).__name__}); {KEPT}")
        sys.stderr.writelines(notes)
        if succeeded:
            job.set_result(result)
        else:
            job.set_exception(result)


def open_pool(
    workers: int | None, cluster: str | None, output: Path, *, cpus: int = 1, gpus: bool = False
) -> WorkerPool | ClusterPool:
    """Return a `ClusterPool` if `cluster` is given, otherwise a `WorkerPool`."""
    if cluster is None:
        return WorkerPool(workers)
    if workers is not None:
        raise GameError("--workers are processes of this machine, --cluster runs as many jobs as it has CPUs: give one")
    return ClusterPool(cluster, output, cpus=cpus, gpus=gpus)


def _connect(address: str, cpus: int) -> Any:
    """Connect to a cluster, or start a cluster on this machine. Return the module `ray`."""
    if address != LOCAL and not ADDRESS.fullmatch(address):
        raise GameError(f"--cluster {address}: expected HOST:PORT, on a machine of that cluster, or {LOCAL}")
    variables = {name: x for name, x in python_environment().items() if name.startswith(("ACTDE_", "PYTHON", "HF_"))}
    variables["OMP_NUM_THREADS"] = str(cpus)
    # Without a working folder of ours, Ray would put the current folder and the script's on the workers' import path.
    (working_folder := scratch_folder() / "empty").mkdir(exist_ok=True)
    runtime_env = {"working_dir": str(working_folder), "env_vars": variables}
    options = {"address": address, "log_to_driver": False, "logging_level": "error", "runtime_env": runtime_env}
    # read by the process that submits the tasks; by default, Ray repeats tasks that run out of memory without limit
    os.environ.setdefault("RAY_task_oom_retries", str(RETRIES))
    if address == LOCAL:
        # this name makes Ray use the loopback address on any system
        os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        options |= {
            "num_cpus": max(available_cpus(), cpus),
            "include_dashboard": False,
            "object_store_memory": STORE_BYTES,
        }
        options |= {"_temp_dir": str(scratch_folder() / "ray")}
    try:
        import ray
    except ImportError as error:
        raise GameError("--cluster needs the package ray: pip install -e '.[cluster]'") from error
    try:
        if match := ADDRESS.fullmatch(address):  # Ray would try for minutes
            socket.create_connection((match["host"].strip("[]"), int(match["port"])), timeout=10).close()
        ray.init(**options)
    except (OSError, OverflowError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise GameError(f"--cluster {address}: {' '.join(str(error).split())}") from error
    ray._private.worker._worker_logs_enabled = False  # Ray would print the raylets' logs to standard output
    assert address != LOCAL or [node["NodeManagerAddress"] for node in ray.nodes()] == ["127.0.0.1"]
    return ray


def _run_in_folder(
    call: tuple[str, str, tuple[Any, ...], Mapping[str, Any]], folder: Path, marker: Path
) -> tuple[list[str], bool, Any]:
    """Run a job in `folder`. Return (lines to print, whether the job succeeded, result or error)."""
    notes: list[str] = []
    send_notes(notes.append)
    if not (folder.is_dir() and marker.is_file()):  # this machine does not share the folders
        missing_folder = folder if marker.is_file() else marker.parent
        expected = "--cluster needs the output and the current folder on storage that all machines share"
        return notes, False, GameError(f"{platform.node()} does not have the files of {missing_folder}: {expected}")
    os.chdir(folder)
    return notes, *run_job(*call)
