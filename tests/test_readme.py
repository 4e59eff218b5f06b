"""The README is correct: its Python runs, its commands are valid, and its files and lines exist."""

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import cli
from tests import ROOT

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [line for language, text in BLOCKS if language == "sh" for line in text.splitlines()]


@pytest.mark.parametrize("block", PYTHON, ids=range(len(PYTHON)))
def test_python_runs(block: str, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", block]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("python cli.py ")])
def test_commands_are_valid(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands parse; other tests run them."""
    arguments = shlex.split(line)[2:]
    monkeypatch.setattr(sys, "argv", ["cli.py", *arguments])  # only the typed command has options for the settings
    group = typer.main.get_command(importlib.reload(cli).app)
    context = group.make_context("cli.py", arguments[:1], resilient_parsing=True)
    command = group.get_command(context, arguments[0])  # type: ignore[attr-defined]
    assert command is not None, f"no such command: {arguments[0]}"
    with command.make_context(arguments[0], arguments[1:], parent=context):
        pass


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
