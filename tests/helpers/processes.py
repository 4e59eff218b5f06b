"""Processes of tests: one that runs some code, and two of one run on a CPU, started as `torchrun` starts them."""

import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Sequence

from tests import ROOT


def start_python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a process that runs the code. Standard input and output are pipes."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def start_two(arguments: Sequence[str]) -> list[subprocess.Popen[str]]:
    """Start `python ARGUMENTS` twice, as the processes 0 and 1. The text "{rank}" is replaced in each argument."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
    return [
        subprocess.Popen(
            [sys.executable, *(argument.replace("{rank}", str(rank)) for argument in arguments)],
            env=os.environ | meeting
            | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"},
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip


def finish(workers: Sequence[subprocess.Popen[str]], status: int = 0) -> list[tuple[str, str]]:
    """Wait for the processes, assert their exit status, and return standard output and standard error of each."""
    try:
        streams = [worker.communicate(timeout=120) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert [worker.returncode for worker in workers] == [status] * len(workers), streams
    return streams
