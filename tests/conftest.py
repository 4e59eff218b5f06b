"""What all tests share: generated games are made once per test run, in a cache that is not the user's."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: one process per core, and the networks are tiny

# a shell that starts us in the background lets SIGINT be ignored, here and in every child
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def game_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache of this test run; the processes of pytest-xdist share it."""
    base = tmp_path_factory.getbasetemp()
    cache = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    before = os.environ.get("ACTDE_CACHE")
    os.environ["ACTDE_CACHE"] = str(cache)
    yield cache
    if before is None:
        del os.environ["ACTDE_CACHE"]
    else:
        os.environ["ACTDE_CACHE"] = before
