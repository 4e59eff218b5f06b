"""A short run with checkpoints."""

import shutil
from pathlib import Path

import pytest

from agents.training.factory import make_trainer
from tests.agents.storage.test_checkpoint import SETTINGS


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "run"
    list(make_trainer(SETTINGS, out).run())
    return out


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A run of two iterations, to be damaged."""
    return Path(shutil.copytree(made, tmp_path / "run"))
