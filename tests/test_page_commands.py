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
    if faults := [found for command in COMMANDS if (found := fault(command))]:
        pytest.fail("\n".join(faults), pytrace=False)


def test_commands_in_lines_and_in_sentences_are_found() -> None:
    text = """Type `make docs`, or
python cli.py train \\
  --out a  # about 2 min, or less
make haste slowly
X=1 actde watch a --won | less
`python -m
experiments.limits --out b  # soon` and `actde`
make test # 1 h"""
    commands = sorted(found("page", text), key=lambda command: command.line)
    assert [(str(command), command.alone, command.stated) for command in commands] == [
        ("page:1: make docs", False, False),
        ("page:2: python cli.py train --out a", True, True),
        ("page:5: X=1 actde watch a --won | less", True, False),
        ("page:6: python -m experiments.limits --out b", False, False),
        ("page:8: make test", True, True),
    ]
    assert [command.arguments for command in commands if command.of_cli][1] == ["watch", "a", "--won"]


def test_a_long_command_runs_shortened_if_a_later_one_reads_its_output() -> None:
    text = """python cli.py train --iterations 900 --out runs/a  # 2 h
python cli.py train --game bandit --out runs/b  # 2 h
python cli.py train --resume --out runs/a  # 2 h
python cli.py watch runs/a/best
python cli.py watch runs/b  # until you press q"""
    assert [words for _, words in steps(list(found("page", text)))] == [
        ["train", "--out", "runs/a", "--iterations", "10", "--episodes", "2", "--parallel", "2"],
        ["train", "--resume", "--out", "runs/a", "--iterations", "11"],
        ["watch", "runs/a/best"],
    ]


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
