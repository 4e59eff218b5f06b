"""The code blocks of the documentation."""

import importlib
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import typer

import cli
from tests import ROOT


def blocks(page: str, language: str) -> list[str]:
    """Return the code blocks of a page in one language."""
    text = (ROOT / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[str]:
    """Return the lines of the `sh` blocks of a page. Continued lines are joined."""
    return [line for text in blocks(page, "sh") for line in text.replace("\\\n", " ").splitlines()]


def run_python(block: str, folder: Path) -> None:
    """Run a block in a folder. It must succeed and write nothing to standard error."""
    command = [sys.executable, "-W", "error", "-c", block]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def check_command(arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Parse the arguments of a command line, without running it."""
    monkeypatch.setattr(sys, "argv", ["cli.py", *arguments])  # only the typed command has options for the settings
    group = typer.main.get_command(importlib.reload(cli).app)
    context = group.make_context("cli.py", [arguments[0]], resilient_parsing=True)
    command = group.get_command(context, arguments[0])  # type: ignore[attr-defined]
    assert command is not None, f"no such command: {arguments[0]}"
    with command.make_context(arguments[0], [*arguments[1:]], parent=context):
        pass
