"""A game and an optimizer in files outside the repository: train, resume, evaluate, watch, play and compare."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

README = (ROOT / "README.md").read_text()


def example(title: str) -> str:
    """Return the first Python block of a section of the README."""
    return README.split(f"## {title}")[1].split("```python\n")[1].split("```")[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "guess.py").write_text(example("Add a game"))
    (tmp_path / "averaged.py").write_text(example("Add an optimizer"))
    return tmp_path


def run(folder: Path, *words: str, status: int = 0) -> str:
    """Run a command in a folder outside the repository, and return its output."""
    done = subprocess.run(
        [sys.executable, ROOT / "cli.py", *words], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_the_readmes_game_and_optimizer_are_used_by_typing_commands(folder: Path) -> None:
    budget = ["--iterations", "2", "--episodes", "4"]
    run(folder, "train", "--game", "guess.py:Guess", "--optimizer", "averaged.py:Averaged", *budget, "--out", "run")
    settings = json.loads((folder / "run" / "settings.json").read_text())["run"]
    assert settings["optimizer"] == "averaged"
    refused = run(folder, "train", "--resume", "--out", "run", "--iterations", "3", status=2)
    assert f"--import {folder / 'averaged.py'}:Averaged" in refused
    assert f"--import {folder / 'guess.py'}" in refused
    code = ["--import", "averaged.py:Averaged", "--import", "guess.py"]
    assert "3/3" in run(folder, "train", "--resume", "--out", "run", "--iterations", "3", *code)
    for game in (["mine/Guess-v0", *code[2:]], ["guess.py:Guess?cards=20&seed=1..3"]):
        table = run(folder, "evaluate", "--agent", "run", "--game", *game, "--episodes", "4")
        assert "run" in table
        assert "random" in table
    assert "High or low?" in run(folder, "watch", "run", "--episode", "0")
    assert "episode 0" in run(folder, "play", "--agent", "run", "--game", "guess.py:Guess?seed=3")
    compared = ["--optimizers", "averaged.py:Averaged,ppo", "--seeds", "0", "--evaluations", "2", "--out", "compared"]
    run(folder, "compare", "--game", "guess.py:Guess", *compared, *budget)
    rows = json.loads((folder / "compared" / "results.json").read_text())["runs"]
    assert [row["optimizer"] for row in rows] == ["averaged", "ppo"]


def test_code_in_a_configuration_file_is_named_by_the_user(folder: Path) -> None:
    (folder / "run.toml").write_text(
        '[run]\ngame = "mine/Guess-v0"\noptimizer = "averaged.py:Averaged"\nimports = "guess.py"\n'
    )
    run(folder, "train", "--config", "run.toml", "--iterations", "1", "--episodes", "2", "--out", "run")
    assert "add --import" in run(folder, "train", "--resume", "--out", "run", status=2)
    run(folder, "train", "--resume", "--config", "run.toml", "--out", "run", "--iterations", "2")


def test_a_run_folder_never_imports_code(folder: Path) -> None:
    run(folder, "train", "--game", "bandit", "--iterations", "1", "--episodes", "2", "--out", "run")
    (folder / "evil.py").write_text(f"open({str(folder / 'executed')!r}, 'w')\n")
    settings = json.loads((folder / "run" / "settings.json").read_text())
    for group, name, value in (
        ("run", "game", f"{folder}/evil.py:Game"),
        ("run", "imports", f"{folder}/evil.py"),
        ("run", "game", f"completion?reward={folder}/evil.py:score"),
    ):
        changed = {**settings, group: {**settings[group], name: value}}
        (folder / "run" / "settings.json").write_text(json.dumps(changed))
        assert f"add --import {folder}/evil.py" in run(folder, "train", "--resume", "--out", "run", status=2)
    assert not (folder / "executed").exists()


def test_a_game_without_commands_is_played_freely(folder: Path) -> None:
    (folder / "echo.py").write_text(
        "import gymnasium\n"
        "class Echo(gymnasium.Env):\n"
        "    observation_space = action_space = gymnasium.spaces.Text(99)\n"
        "    def reset(self, *, seed=None, options=None):\n"
        "        return 'Say it.', {}\n"
        "    def step(self, action):\n"
        "        return action, float(len(action)), True, False, {}\n"
    )
    shown = run(folder, "train", "--game", "echo.py:Echo", "--dry-run")
    assert 'mode = "free"' in shown
    refused = run(
        folder, "train", "--game", "echo.py:Echo", "--mode", "trie", "--trunk", "pico", "--out", "r", status=2
    )
    assert "offers no admissible commands" in refused
    assert not (folder / "r").exists()


def test_a_game_that_always_fails_ends_the_run_in_one_line(folder: Path) -> None:
    (folder / "bad.py").write_text(example("Add a game").replace("won = bool(", "won = 1 / 0 + bool("))
    shown = run(folder, "train", "--game", "bad.py:Guess", "--episodes", "8", "--out", "r", status=2)
    assert "3 episodes in a row failed alike" in shown
    assert "ZeroDivisionError: division by zero (bad.py, line 18)" in shown
