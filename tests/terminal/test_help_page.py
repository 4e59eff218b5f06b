"""Help pages: one form for all commands, and no text cut off in a terminal of 80 columns."""

import re

import pytest
import typer

import cli
from games.game_spec import BUILT_IN
from games.suites import SUITES
from games.textworld.generation.families import FAMILIES
from terminal import console
from terminal.help_page import GAMES
from tests.conftest import Command

GROUP = typer.main.get_command(cli.app)
COMMANDS = sorted(GROUP.commands)  # type: ignore[attr-defined]
PAGES = [("--help",), *((name, "--help") for name in COMMANDS), ("train", "--help-all"), ("compare", "--help-all")]


@pytest.fixture(params=PAGES, ids=" ".join)
def words(request: pytest.FixtureRequest) -> tuple[str, ...]:
    asked: tuple[str, ...] = request.param
    return asked


def texts(page: str) -> str:
    """A help page as one line, without the borders of its panels."""
    return " ".join(page.replace("│", " ").split())


@pytest.mark.parametrize("columns", [80, 60])
def test_no_text_is_cut_off(
    command: Command, words: tuple[str, ...], columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console.out, "_width", columns)
    status, page, errors = command(*words)
    assert (status, errors) == (0, "")
    assert "…" not in page
    assert max(map(len, page.splitlines())) <= columns


@pytest.mark.parametrize("name", COMMANDS)
def test_a_page_has_all_texts_of_the_commands_own_options(
    command: Command, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    page = texts(command(name, "--help")[1])
    for parameter in GROUP.commands[name].params:  # type: ignore[attr-defined]
        assert parameter.help and parameter.help in page
        assert parameter.help[-1] == "."
        assert not re.search(r"[()\[\]]", parameter.help), "defaults stand in brackets after the text"


def test_all_defaults_have_one_form(command: Command, words: tuple[str, ...]) -> None:
    found = set(re.findall(r"\[(.*?)\]", texts(command(*words)[1]))) - {"OPTIONS", "ARGS", "FOLDER", "no-"}
    assert all(remark == "required" or re.fullmatch(r"default: .+", remark) for remark in found)


@pytest.mark.parametrize(
    ("name", "remark"),
    [
        ("play", "--game GAME Game to play, or several. [default: textworld:cooking?level=5&split=test&seed=101]"),
        ("play", "--max-turns N Turn limit. [default: the game's own]"),
        ("evaluate", "[default: 20; with --card 100 of each task]"),
        ("generate", "OUT New folder of the games and manifest.jsonl. [required]"),
        ("generate", "--seed N Random seed. [default: 0]"),
        ("compare", "--seeds SEEDS Seeds, as in 0-2,7. [default: 0-2; with --quick 0]"),
        ("compare", "[default: the games of the training]"),
        ("compare", "--runs FOLDER Folder of the runs. [default: OUT/runs]"),
        ("train", "--epochs N Passes over each rollout. [default: 2]"),
        ("watch", "RUN Folder of a run, of saved episodes or of a comparison, or a .jsonl file. [required]"),
    ],
)
def test_defaults_that_depend_on_something_have_this_form_too(command: Command, name: str, remark: str) -> None:
    assert remark in texts(command(name, "--help")[1])


@pytest.mark.parametrize("name", ["play", "evaluate", "serve", "train", "compare"])
def test_a_page_explains_every_kind_of_game(command: Command, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    page = command(name, "--help")[1]
    for usage, text in GAMES:
        assert f"│ {usage} " in page
        assert text in texts(re.sub(r"(?m)^│ .{31}", "", page.partition("╭─ GAME")[2]))
    for part in (*BUILT_IN, *FAMILIES, *SUITES):
        assert part in page


def test_options_of_all_pages_look_alike(command: Command) -> None:
    for name in COMMANDS:
        page = command(name, "--help")[1]
        assert not re.search(r"<\w+", page)
        assert "│ -h, --help" in page


def test_the_usage_shows_that_several_runs_can_be_watched(command: Command) -> None:
    assert " watch [OPTIONS] RUN...\n" in command("watch", "--help")[1]
