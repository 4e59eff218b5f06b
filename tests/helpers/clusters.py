"""A Ray cluster of two nodes on this machine, on the loopback address only. It has a process of its own.

Ray reads its variables when it is imported, so they cannot be set in the process of the tests.
"""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests import ROOT

NODE = {"num_cpus": 1, "object_store_memory": 100_000_000, "include_dashboard": False}


class TwoNodes:
    """A running cluster. Processes with the variables `environment` may connect to `address`."""

    def __init__(self) -> None:
        self.environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONSAFEPATH": "1",
            "PYTHONPATH": str(ROOT),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # binds to the loopback address, on any system
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        command = [sys.executable, "-m", "tests.helpers.clusters"]
        self.process = subprocess.Popen(
            command, env=self.environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.address = self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        while not (line := self.process.stdout.readline()).startswith("cluster: "):  # Ray prints lines of its own
            assert line, "the cluster has ended"
        return line.removeprefix("cluster: ").strip()

    def kill_the_second_node(self) -> None:
        assert self.process.stdin is not None
        print("kill", file=self.process.stdin, flush=True)
        assert self._line() == "killed"


@contextmanager
def two_nodes() -> Iterator[TwoNodes]:
    """Start two nodes with one CPU each, and end them after the block."""
    cluster = TwoNodes()
    try:
        yield cluster
    finally:
        cluster.process.communicate("", timeout=60)


def main() -> None:
    """Start the nodes, print the address, kill the second node after a line of input, and end after the last line."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    second = cluster.add_node(**NODE)
    print("cluster:", cluster.address, flush=True)  # noqa: T201
    for _ in sys.stdin:
        cluster.remove_node(second, allow_graceful=False)
        print("cluster: killed", flush=True)  # noqa: T201
    cluster.shutdown()


if __name__ == "__main__":
    main()
