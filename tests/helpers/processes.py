"""Processes of tests: one that runs some code, and two of one run on a CPU, started as `torchrun` starts them."""

import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests import ROOT
from tests.helpers.command_line import cli


def start_python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a process that runs the code. Standard input and output are pipes."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def start_two(arguments: Sequence[str], *, sharded: bool = False) -> list[subprocess.Popen[str]]:
    """Start `python ARGUMENTS` twice, as the processes 0 and 1. The text "{rank}" is replaced in each argument."""
    return [
        subprocess.Popen(
            [sys.executable, *(argument.replace("{rank}", str(rank)) for argument in arguments)],
            env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank, environment in enumerate(_environments(sharded=sharded))
    ]  # fmt: skip


def run_two(*arguments: str, status: int = 0, sharded: bool = False) -> list[tuple[str, str]]:
    """Run a command line as the processes 0 and 1, assert their exit status, and return the two streams of each."""
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda environment: cli(*arguments, env=environment), _environments(sharded=sharded)))
    assert [each.returncode for each in done] == [status] * 2, done
    return [(each.stdout, each.stderr) for each in done]


def _environments(*, sharded: bool) -> list[dict[str, str]]:
    """Return the environment variables of both processes, with those of `accelerate launch` for FSDP2 if `sharded`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
    ranks = ({"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"} for rank in "01")
    further = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"} if sharded else {}
    return [os.environ | meeting | rank | further for rank in ranks]


def finish(workers: Sequence[subprocess.Popen[str]], status: int = 0, *, timeout: float = 120) -> list[tuple[str, str]]:
    """Wait for the processes, assert their exit status, and return standard output and standard error of each."""
    try:
        streams = [worker.communicate(timeout=timeout) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert [worker.returncode for worker in workers] == [status] * len(workers), streams
    return streams
