"""Every command of the README, the documentation, the examples and the help runs in a test or states its duration.

A duration is a comment at the end of the command; docs/how-to/contribute.md explains it.
"""

import shutil
from pathlib import Path

import pytest

from tests import ROOT
from tests.helpers import pages
from tests.helpers.command_line import cli
from tests.helpers.page_commands import PageCommand, found, help_texts, steps, texts_of_pages

COMMANDS = [command for name, text in (*texts_of_pages(), *help_texts()) for command in found(name, text)]
VALID = {command.words: command for command in COMMANDS if command.of_cli and (command.alone or command.stated)}
ALONE = [command for command in COMMANDS if command.of_cli and command.alone]
RUN = {
    page: [command for command in ALONE if command.page == page]
    for page in dict.fromkeys(command.page for command in ALONE if not command.stated)
}
FILES = ("examples/averaged.py", "examples/guess.py", "examples/short.py", "docs/example.toml")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that holds only the example files which commands of pages name."""
    for name in FILES:
        place = tmp_path / name.removeprefix("examples/")
        place.parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, place)
    return tmp_path


def fault(command: PageCommand) -> str | None:
    """Return what is wrong with a command that neither runs in a test nor states its duration."""
    if command.stated or (command.alone and command.of_cli):  # the test below runs the latter
        return None
    if not command.alone and any(other.bare.startswith(command.bare) for other in COMMANDS if other.alone):
        return None  # a sentence names a command that has a line of its own
    return f"{command}: expected a duration, such as # 4 min, at the end of the command"


def test_every_command_runs_or_states_its_duration() -> None:
    faults = [found for command in COMMANDS if (found := fault(command))]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("command", VALID.values(), ids=str)
def test_every_command_is_valid(
    command: PageCommand, folder: Path, monkeypatch: pytest.MonkeyPatch, clean_registry: None
) -> None:
    monkeypatch.chdir(folder)
    pages.check_command(command.arguments, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_the_commands_of_a_page_run(page: str, folder: Path) -> None:
    """They run in the order of the page."""
    for command, arguments in steps(RUN[page]):
        done = cli(*arguments, cwd=folder, timeout=600)
        assert done.returncode == 0, f"{command}: status {done.returncode}: {done.stderr}"
