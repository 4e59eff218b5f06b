"""An installation neither overwrites packages of the same names nor is overwritten by them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT


@pytest.mark.parametrize("name", ["agents", "games", "experiments", "terminal", "cli"])
def test_a_foreign_package_of_the_same_name_is_not_used(name: str, tmp_path: Path) -> None:
    foreign = tmp_path / "site-packages" / name
    foreign.mkdir(parents=True)
    (foreign / "__init__.py").write_text("raise SystemExit('a foreign package was imported')\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(foreign.parent), str(ROOT)])}
    command = [sys.executable, "-m", "actde", "evaluate", "--agent", "random", "--game", "bandit", "--episodes", "2"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "random" in done.stdout


def test_a_wheel_is_refused(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "actde").mkdir()
    (tmp_path / "actde" / "__init__.py").touch()
    build = "from setuptools import build_meta; build_meta.build_wheel('dist')"
    done = subprocess.run([sys.executable, "-c", build], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "pip install --editable" in done.stderr
    assert not list(tmp_path.glob("dist/*.whl"))
