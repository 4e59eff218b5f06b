"""Commands in hints start the program as the user started it, messages appear above bars, and Ctrl-C prints a line."""

import io
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from rich.live import Live

from agents.config import TrainConfig
from terminal import console
from terminal.help_page import HelpGroup
from terminal.options import play_command, resume_command

BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    ("script", "path", "program"),
    [
        ("cli.py", BIN, "python cli.py"),
        ("/a checkout/cli.py", BIN, "python '/a checkout/cli.py'"),
        ("cli.py", "/nowhere", f"{sys.executable} cli.py"),
        ("/checkout/actde/__main__.py", BIN, "python -m actde"),
        ("TMP/actde", "TMP", "actde"),
        ("TMP/actde", "/nowhere", "TMP/actde"),
    ],
)
def test_a_command_starts_the_program_as_this_process_was_started(
    script: str, path: object, program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def here(text: object) -> str:
        return str(text).replace("TMP", str(tmp_path))

    shutil.copy("/bin/true", tmp_path / "actde")
    monkeypatch.setattr(sys, "argv", [here(script), "train"])
    monkeypatch.setenv("PATH", here(path))
    if program.startswith("python") and not (BIN / "python").exists():
        program = program.replace("python", sys.executable, 1)
    assert console.command_line("play", "--game", "a?b=1") == f"{here(program)} play --game 'a?b=1'"


@pytest.mark.parametrize(
    ("script", "program"),
    [
        ("/anywhere/bin/actde", "actde"),
        ("../cli.py", "python cli.py"),
        ("/checkout/actde/__main__.py", "python cli.py"),
    ],
)
def test_a_report_names_the_program_that_the_user_typed(
    script: str, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [script, "compare", "--vary", "lr=1, 2"])
    assert console.typed_command_line() == f"{program} compare --vary 'lr=1, 2'"


def test_training_in_several_processes_is_started_by_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["cli.py", "train"])
    monkeypatch.setenv("WORLD_SIZE", "3")
    launched = "torchrun --standalone --nproc-per-node 3 cli.py train --resume"
    assert console.command_line("train", "--resume") == launched
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    sharded = "accelerate launch --use_fsdp --fsdp_version 2 --num_processes 3 cli.py train --resume"
    assert console.command_line("train", "--resume") == sharded
    assert console.command_line("play").endswith("python cli.py play")


@pytest.mark.parametrize(
    ("game", "imports", "for_play", "for_resume"),
    [
        ("bandit", "", "", ""),
        ("mine/Guess-v0", "/g/guess.py", "/g/guess.py", "/g/guess.py"),
        ("/g/guess.py:Guess?cards=3", "/g/guess.py", "", "/g/guess.py"),
        ("my.games:Guess", "/o/mean.py:Mean", "", "/o/mean.py:Mean my.games"),
        ("mine/Guess-v0", "my_games,/o/mean.py:Mean", "my_games", "/o/mean.py:Mean my_games"),
    ],
)
def test_commands_import_the_code_that_a_run_needs(
    game: str, imports: str, for_play: str, for_resume: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def options(code: str) -> str:
        return "".join(f" --import {entry}" for entry in code.split())

    def quoted(command: str) -> str:
        return command.partition("cli.py ")[2].replace("'", "")

    monkeypatch.setattr(sys, "argv", ["cli.py", "train"])
    values: dict[str, Any] = TrainConfig.from_flat({"game": game, "imports": imports}).flat()
    assert quoted(play_command(Path("run"), values)) == f"play --agent run --game {game}{options(for_play)}"
    assert quoted(resume_command(Path("run"), values)) == f"train --resume --out run{options(for_resume)}"


@pytest.mark.parametrize("stream", ["out", "err"])
def test_messages_are_printed_above_a_bar(stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    for name in ("out", "err"):
        monkeypatch.setattr(console, name, Console(file=screen, force_terminal=True, width=100))

    def message() -> None:
        console.show(["a message"]) if stream == "out" else console.note("a message")

    for bar in (console.waiting("works"), console.progress("works", 3), console.reporting("works")):
        with bar:
            time.sleep(0.3)  # until the bar is drawn
            message()
        assert "\x1b[2Ka message\n" in screen.getvalue()
        screen.truncate(0)
    view = Live("a panel", console=console.out)
    with console.drawing(view, console.out):
        view.refresh()
        message()
    assert "\x1b[2Ka message\n" in screen.getvalue()


def test_messages_go_to_a_pipe_while_a_bar_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, pipe = io.StringIO(), io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=screen, force_terminal=True))
    monkeypatch.setattr(console, "out", Console(file=pipe))
    with console.reporting("works"):
        console.show(["a result"])
    assert (pipe.getvalue(), "a result" in screen.getvalue()) == ("a result\n", False)


def test_ctrl_c_ends_any_command_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer(cls=HelpGroup)

    @app.command()
    def first() -> None:
        raise KeyboardInterrupt

    app.command("second")(first)
    assert app(["first"], standalone_mode=False) == 130
    assert capsys.readouterr().err == "stopped\n"
