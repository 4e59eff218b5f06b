"""What all tests share: generated games are made once per test run, in a cache that is not the user's."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Command = Callable[..., tuple[int, str, str]]

os.environ["TERM"] = "xterm-256color"  # a dumb terminal shows no spinners
os.environ.pop("COLUMNS", None)  # the width of the screens that tests compare
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: one process per core, and the networks are tiny

# a shell that starts us in the background and `nohup` let signals be ignored, here and in every child
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


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


@pytest.fixture
def clean_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the ids that the test registers with Gymnasium, because other tests may register them too."""
    import gymnasium

    import games  # noqa: F401  # registers its own ids

    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    monkeypatch.setattr(gymnasium, "registry", gymnasium.envs.registration.registry)


@pytest.fixture
def leaves_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a command that this process runs exit as usual, even if threads of other tests are alive."""
    from terminal import error_lines

    def leave(status: int, *, skip_teardown: bool = False) -> None:
        sys.exit(status)

    monkeypatch.setattr(error_lines, "leave", leave)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], leaves_threads: None) -> Command:
    """A function that runs the command line in this process. It returns status, output, and errors without progress."""
    import cli
    from tests.helpers.command_line import without_progress

    monkeypatch.setenv("COLUMNS", "100")
    for name in ("PYTHONSAFEPATH", "HF_HUB_OFFLINE", "OMP_WAIT_POLICY"):  # the command line sets them
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # the command line replaces it

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cli.py", *words])
        with pytest.raises(SystemExit) as stopped:
            importlib.reload(cli).main()
        captured = capsys.readouterr()
        assert isinstance(stopped.value.code, int)
        return stopped.value.code, captured.out, without_progress(captured.err)

    return run
