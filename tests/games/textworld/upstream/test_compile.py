"""A compiler that fails because the disk is full is told apart from a game that is too large."""

import shutil
import subprocess
from types import SimpleNamespace

import pytest

from games.errors import GameError
from games.textworld.upstream import compile as compiler


@pytest.mark.parametrize(("free", "error"), [(0, OSError), (1 << 30, GameError)])
def test_a_compiler_fails_on_a_full_disk(free: int, error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: str, story: str) -> None:
        raise subprocess.CalledProcessError(1, ["ni"])

    monkeypatch.setattr(compiler, "_compile_without_index", fail)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    with pytest.raises(error, match="No space left on device: '.*tw-inform-" if not free else "too large") as failed:
        compiler.compile_story("source", "mine")
    assert isinstance(failed.value, OSError) == (not free)
