"""Errors of the command line: a user's mistakes, full disks, little memory, and bugs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cli as cli_module
from tests import ROOT
from tests.helpers.command_line import cli, surroundings
from tests.test_cli import LIFT

THREAD = """
import gymnasium, threading, time
threading.Thread(target=time.sleep, args=(1000,), name="lazy").start()
"""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["play", "--agent", "randm"], "unknown agent 'randm'.*did you mean 'random'"),
        (["play", "--agent", "random", "--game", "bandid"], "did you mean 'bandit'"),
        (["play", "--agent", "random", "--game", "textworld:simpel"], "simple"),
        (["watch", str(ROOT / "cli.py")], r"cli\.py is no transcript; expected the folder of a run"),
        (["play", "--agent", "random", "--game", "textworld:simple?seed=1..x"], r"a range, as in seed=1\.\.20"),
        (["play", "--agent", "random", "--game", "ipd?strat=defect"], "did you mean 'start'"),
        (["play", "--agent", "random", "--game", "no/such/game.z8"], "no such file or folder"),
        (["play", "--agent", "human", "--game", "ipd", "--json"], "a person cannot play with --json"),
        (["evaluate", "--agent", "actde", "--agent", "ppo"], "^error: --agent was given twice; expected one value$"),
        (["train", "--lr", "1", "--lr", "2", "--lr=3"], "--lr was given 3 times; expected one value$"),
        (["train", "--detach-q", "--no-detach-q"], "--detach-q/--no-detach-q was given twice; expected it once$"),
        (["play", "--episods", "3"], "No such option.*--episodes"),
        (["train", "--resume", "runs/x"], r"unexpected extra argument.*runs/x.*list the options: .* train --help"),
        (["play", "--episodes", "0"], "--episodes must be greater than or equal to 1, got 0$"),
        (["evaluate", "--episodes", "1000000000"], "--episodes must be less than or equal to 1000000, got 1000000000$"),
        (["play", "--step-seconds", "0"], "--step-seconds must be greater than or equal to 0.001, got 0$"),
        (["serve", "--port", "99999"], "--port must be less than or equal to 65535, got 99999$"),
        (["play", "--seed", "x"], "--seed must be a valid integer, got 'x'$"),
        (["evaluate", "--card", "--tasks", "coins"], "did you mean 'coin'?"),
        (["evaluate", "--card", "--agent", "nobody"], "unknown agent 'nobody'"),
        (["evaluate", "--card", "--greedy"], "leave out the other options"),
        (["evaluate", "--card", "--parallel", "8"], "leave out the other options"),
        (["evaluate", "--tasks", "coin"], "add --card, or leave them out"),
        (["evaluate", "--out", "card.md"], "add --card, or leave them out"),
        (["evaluate", "--card", "--out", "card"], "--out expects NAME.md"),
        (["evaluate", "--agent", "human", "--game", "ipd"], "in the terminal only"),
        (["generate", "x", "--family", "simpel"], "simple"),
        (["generate", "x", "--family", "coin", "--set", "goal"], "NAME=VALUE, got 'goal'"),
        (["generate", "x", "--family", "coin", "--set", "gaol=none"], "goal"),
        (["generate", "x", "--family", "coin", "--levels", "3-1"], "3-1"),
        (["generate", "x", "--family", "coin", "--levels", "0"], "--levels 0: expected levels of coin from 1 to 233"),
        (["generate", "x", "--family", "coin", "--set", "level=0"], "level is an option of its own, --levels"),
        (["wach"], "Did you mean 'watch'"),
        (["watch", "no/such/run"], "no/such/run does not exist"),
        (["watch", "run", "--won", "--lost"], "--won and --lost exclude each other"),
        (["watch", "run", "--follow"], "--follow is for the application in a terminal"),
        (["watch", "run", "--export", "page.pdf"], r"--export expects FILE\.html or FILE\.md, got page\.pdf"),
        (["watch", "run", "--export", "page.md", "--json"], "--export and --json exclude each other"),
        (["evaluate", "--card", "--save", "folder"], "leave out the other options"),
        (["play", "--delay", "soon"], "--delay.*number"),
    ],
)
def test_a_users_mistake_is_one_line_and_status_2(arguments: list[str], message: str) -> None:
    done = cli(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"error: .+\n", done.stderr)
    assert re.search(message, done.stderr)


def test_a_foreign_game_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "game.z8").write_bytes(b"garbage")
    done = cli("play", "--agent", "random", "--game", str(tmp_path / "game.z8"))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_a_full_disk_is_reported() -> None:
    command = [sys.executable, str(ROOT / "cli.py"), "play", "--agent", "random", "--game", "bandit", "--json"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=surroundings())
    assert (done.returncode, done.stderr) == (1, "error: the disk is full\n")


def test_a_game_that_changes_the_folder_does_not_move_a_run(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    moved = f"import os; os.chdir({str(tmp_path / 'elsewhere')!r})\n        return f"
    (tmp_path / "mover.py").write_text(LIFT.replace("return f", moved))
    sizes = ("--trunk", "pico", "--episodes", "2", "--iterations", "1", "--epochs", "1")
    done = cli("train", "--game", f"{tmp_path}/mover.py:Lift?name=x", *sizes, "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "metrics.jsonl").is_file() and not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(closed: str) -> None:
    command = f"{sys.executable} cli.py play --agent random --game bandit --json {closed}"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert ">&-" in closed.split() or json.loads(done.stdout)["game"] == "bandit"


def test_what_a_game_writes_to_descriptor_1_is_no_part_of_a_document(tmp_path: Path) -> None:
    """C code and other programs print there, past `sys.stdout`."""
    noise = (
        'def reset(self, *, seed=None, options=None):\n        import os; os.write(1, b"noise"); os.system("echo more")'
    )
    path = tmp_path / "noisy.py"
    path.write_text(LIFT.replace("def reset(self, *, seed=None, options=None):", noise))
    done = cli("play", "--agent", "random", "--game", f"{path}:Lift?name=x", "--json")
    assert json.loads(done.stdout)["agent"] == "random"
    assert (done.returncode, "noise" in done.stderr, "more" in done.stderr) == (0, True, True)


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} {ROOT / 'cli.py'} play --agent random --game ipd --episodes 3 | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, env=surroundings())
    assert done.stderr == ""


def test_a_bug_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise ValueError("ours")

    monkeypatch.setattr(cli_module, "app", broken)
    with pytest.raises(ValueError, match="ours"):
        cli_module.main()


@pytest.mark.parametrize("error", [OSError(28, "No space left", "runs/x"), OSError(30, "Read-only", "runs/x")])
def test_a_failing_disk_is_one_line(
    error: OSError, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], leaves_threads: None
) -> None:
    def failing(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli_module, "app", failing)
    with pytest.raises(SystemExit) as stopped:
        cli_module.main()
    assert stopped.value.code == 1
    assert re.fullmatch(r"error: the disk is (full|read-only): runs/x\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("can't start new thread"),
        OSError(12, "Cannot allocate memory"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        type("PanicException", (BaseException,), {})('Os { code: 11, message: "Resource temporarily unavailable" }'),
    ],
)
def test_too_little_memory_is_one_line(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(**_: object) -> None:
        raise error

    def leave(status: int) -> None:
        raise SystemExit(status)

    error.add_note("lower --parallel")
    monkeypatch.setattr(cli_module, "app", failing)
    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setenv("LOCAL_RANK", "3")
    with pytest.raises(SystemExit) as stopped:
        cli_module.main()
    assert stopped.value.code == 1
    found = capsys.readouterr().err
    assert re.fullmatch(r"error: the memory is full, [^\n]+ give it more memory, or lower --parallel\n", found)


def test_a_thread_of_a_game_that_does_not_end_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "lazy.py").write_text(LIFT.replace("import gymnasium", THREAD))
    done = cli("play", "--agent", "random", "--game", f"{tmp_path / 'lazy.py'}:Lift?name=x", "--episodes", "1")
    assert done.returncode == 0
    assert done.stderr == "a thread of the game is still running and ends now: lazy\n"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("file/report", "this path leads through a file"),
        ("x" * 300, "the name is too long"),
        ("lost", "a file has this name"),
        ("folder", "no regular file; expected a file"),
    ],
)
def test_an_impossible_path_is_one_clear_line(tmp_path: Path, place: str, said: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder" / "results.json").mkdir(parents=True)
    done = cli("reproduce", "bandit", "--quick", "--out", str(tmp_path / place))
    assert said in done.stderr
    assert str(tmp_path / place) in done.stderr
    status = 2 if place == "folder" else 1  # a folder in the place of the results is read, and the others are written
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (status, "", 1)
