"""No process of a program imports a Python file of the user's current folder, and none may download anything."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

PLANTED = (
    "json", "torch", "numpy", "random", "pathlib", "re", "csv", "dataclasses", "typing", "textwrap", "tabulate", "html",
    "socket", "subprocess", "sitecustomize", "usercustomize", "textworld", "games", "agents", "pydantic",
)  # fmt: skip
"""Modules that programs import. Python itself imports some others before the first line of a program."""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with files named like modules, each of which records its name when it is executed."""
    for name in PLANTED:
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'a').write('{name} ')\n")
    return tmp_path


def run(here: Path, *words: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    environment |= {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_python_itself_would_import_them(here: Path) -> None:
    run(here, "-c", "import json, tabulate")
    assert (here / "executed").read_text() == "json tabulate "


@pytest.mark.parametrize("words", ["experiments.tables", "actde --help", "benchmarks.isolation --help"])
def test_a_program_imports_none_of_them(words: str, here: Path) -> None:
    run(here, "-m", *words.split())
    assert not (here / "executed").exists()


def test_a_program_of_the_user_keeps_its_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text("import actde\nimport experiments\n")
    (tmp_path / "mine" / "__main__.py").write_text("import helper\n")
    (tmp_path / "helper.py").write_text("print('helps')\n")
    assert run(tmp_path, "-m", "mine") == "helps\n"


def test_the_command_line_and_the_children_of_libraries_import_none_of_them(here: Path) -> None:
    child = "import json, os, csv; print(os.environ['HF_HUB_OFFLINE'])"
    program = here / "program" / "main.py"
    program.parent.mkdir()
    program.write_text(
        "import subprocess, sys\n"
        "from terminal import error_lines\n"
        f"error_lines.run(lambda **_: subprocess.run([sys.executable, '-c', {child!r}], check=True).returncode)\n"
    )
    assert run(here, str(program)) == "1\n"
    assert not (here / "executed").exists()
