"""The README is correct: its Python runs, its commands are valid, and its files and lines exist."""

import re
from pathlib import Path

import pytest

from tests import ROOT
from tests.helpers import pages

README = (ROOT / "README.md").read_text()
PYTHON = pages.blocks("README.md", "python")
COMMANDS = pages.commands("README.md")


@pytest.mark.parametrize("block", PYTHON, ids=range(len(PYTHON)))
def test_python_runs(block: str, tmp_path: Path) -> None:
    pages.run_python(block, tmp_path)


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("python cli.py ")])
def test_commands_are_valid(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands parse; other tests run them."""
    pages.check_command(line, monkeypatch)


def test_make_targets_exist() -> None:
    rules = (ROOT / "Makefile").read_text()
    for target in (line.split()[1] for line in COMMANDS if line.startswith("make ")):
        assert re.search(rf"^{target}:", rules, re.MULTILINE)


def test_files_exist() -> None:
    names = re.findall(r"^([\w/]+(?:\.\w+|/))  ", README, re.MULTILINE) + re.findall(r"\]\(([\w./-]+)\)", README)
    assert len(names) > 6
    for name in names:
        assert (ROOT / name).exists(), name


def test_the_differing_lines_are_in_the_source() -> None:
    lines = re.findall(r"^(actde/\w+\.py) +(return .*)$", README, re.MULTILINE)
    assert len(lines) == 2
    for name, line in lines:
        assert line in (ROOT / name).read_text()
