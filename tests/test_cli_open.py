"""A game and an optimizer in files outside the repository: train, resume, evaluate, watch, play and compare."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from benchmarks.isolation import hostile
from tests.helpers import pages
from tests.helpers.command_line import PROGRESS, cli

GAME = pages.blocks("docs/how-to/own-game.md", "python")[0]
OPTIMIZER = pages.blocks("docs/how-to/own-optimizer.md", "python")[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (path := tmp_path / "my games").mkdir()
    (path / "guess.py").write_text(GAME)
    (path / "averaged.py").write_text(OPTIMIZER)
    return path


def run(folder: Path, *words: str, status: int = 0) -> str:
    """Run a command in a folder outside the repository, and return its output."""
    done = cli(*words, cwd=folder, env={**os.environ, "PYTHONPATH": str(folder / "installed")}, timeout=300)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_the_game_and_the_optimizer_of_the_documentation_are_used_by_typing_commands(folder: Path) -> None:
    budget = ["--iterations", "2", "--episodes", "4"]
    run(folder, "train", "--game", "guess.py:Guess", "--optimizer", "averaged.py:Averaged", *budget, "--out", "run")
    settings = json.loads((folder / "run" / "settings.json").read_text())["run"]
    assert settings["optimizer"] == "averaged"
    refused = run(folder, "train", "--resume", "--out", "run", "--iterations", "3", status=2)
    assert f"--import '{folder / 'averaged.py'}:Averaged'" in refused
    assert f"--import '{folder / 'guess.py'}'" in refused
    code = ["--import", "averaged.py:Averaged", "--import", "guess.py"]
    assert "3/3" in run(folder, "train", "--resume", "--out", "run", "--iterations", "3", *code)
    assert json.loads((folder / "run" / "settings.json").read_text())["run"] == settings
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
    shown = run(folder, "train", "--config", "run.toml", "--iterations", "1", "--episodes", "2", "--out", "run")
    typed = dict(line.split(": ", 1) for line in shown.splitlines() if ": " in line)
    watched = subprocess.run(
        typed["watch its episodes"], shell=True, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert (watched.returncode, watched.stderr) == (0, "")
    assert "High or low?" in watched.stdout
    play = typed["play a game with it"]
    played = subprocess.run(play, shell=True, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert (played.returncode, PROGRESS.sub("", played.stderr).strip()) == (0, "")
    assert "episode 0, mine/Guess-v0: " in played.stdout
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
        ("run", "game", f"actde/Completion-v0?reward={folder}/evil.py:score"),
    ):
        changed = {**settings, group: {**settings[group], name: value}}
        (folder / "run" / "settings.json").write_text(json.dumps(changed))
        assert f"add --import '{folder}/evil.py'" in run(folder, "train", "--resume", "--out", "run", status=2)
    hostile.install(folder / "installed", folder / "executed")
    for name in ("game", "optimizer"):  # the names of entry points
        changed = {**settings, "run": {**settings["run"], name: "evil"}}
        (folder / "run" / "settings.json").write_text(json.dumps(changed))
        assert f"add --import {hostile.PACKAGE}" in run(folder, "train", "--resume", "--out", "run", status=2)
    assert not (folder / "executed").exists()


def test_an_agent_that_cannot_read_a_game_is_refused_in_one_line(folder: Path) -> None:
    run(folder, "train", "--game", "bandit", "--iterations", "1", "--episodes", "2", "--out", "run")
    for game in ("ipd", "guess.py:Guess", "textworld:simple?level=1&seed=1"):
        refused = run(folder, "play", "--agent", "run", "--game", game, status=2)
        assert "the model does not know the word" in refused.splitlines()[-1]


def test_a_run_continues_although_its_game_tells_new_words(folder: Path) -> None:
    (folder / "words.py").write_text(
        "import gymnasium, random\n"
        "class Words(gymnasium.Env):\n"
        "    observation_space = action_space = gymnasium.spaces.Text(99)\n"
        "    def reset(self, *, seed=None, options=None):\n"
        "        return ''.join(random.choices('abcdefghi', k=8)), {'admissible_commands': ['go', 'stay']}\n"
        "    def step(self, action):\n"
        "        return 'done', 1.0, True, False, {}\n"
    )
    common = ["train", "--game", "words.py:Words", "--episodes", "2", "--out", "run"]
    run(folder, *common, "--iterations", "1")
    run(folder, *common, "--iterations", "2", "--resume")
    one, two = (folder / "run" / "checkpoints" / name / "tokenizer.json" for name in ("000001", "000002"))
    assert one.read_bytes() == two.read_bytes()


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
    assert "drop --mode trie" in refused
    assert "smollm2" not in refused
    assert not (folder / "r").exists()


def test_a_game_that_always_fails_ends_the_run_in_one_line(folder: Path) -> None:
    (folder / "bad.py").write_text(GAME.replace("won = bool(", "won = 1 / 0 + bool("))
    shown = run(folder, "train", "--game", "bad.py:Guess", "--episodes", "8", "--out", "r", status=2)
    assert "3 episodes in a row failed alike" in shown
    line = 1 + GAME[: GAME.index("won = bool(")].count("\n")
    assert f"ZeroDivisionError: division by zero (bad.py, line {line})" in shown


FLAKY = """
import itertools
import gymnasium


class Flaky(gymnasium.Env):
    observation_space = action_space = gymnasium.spaces.Text(99)
    commands = {"admissible_commands": ["left", "right"]}

    def __init__(self, first: int = 0, how: str = "loop"):
        self.episode, self.first, self.how = -1, first, how

    def reset(self, *, seed=None, options=None):
        self.episode += 1
        return "Left or right?", self.commands

    def step(self, action):
        if self.episode < self.first:
            return "Well.", 1.0, True, False, self.commands
        if self.how == "loop":
            sum(itertools.repeat(1))
        return b"Well.", 1.0, True, False, self.commands
"""


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (("evaluate", "--agent", "random", "--episodes", "2"), "2 of 2 episodes failed"),
        (("evaluate", "--agent", "random", "--episodes", "1", "--json"), "1 of 1 episodes failed"),
        (("train", "--out", "r", "--iterations", "1"), "3 episodes in a row failed alike"),
        pytest.param(
            ("compare", "--out", "c", "--seeds", "0", "--iterations", "1"),
            "3 episodes in a row failed alike",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_run_in_which_every_episode_fails_is_an_error(folder: Path, command: tuple[str, ...], reason: str) -> None:
    (folder / "flaky.py").write_text(FLAKY)
    shown = run(folder, *command, "--game", "flaky.py:Flaky?how=bytes", status=2)
    last = shown.strip().splitlines()[-1]
    assert last.startswith(f"error: {reason}; the last: {folder / 'flaky.py'}:Flaky")
    assert last.endswith("the observation is b'Well.', not a text; correct the game, or choose another")


@pytest.mark.slow
def test_a_time_limit_ends_the_episodes_of_a_game_that_hangs(folder: Path) -> None:
    """The game blocks in C from the second episode of an environment on."""
    (folder / "flaky.py").write_text(FLAKY)
    limit = ("--game", "flaky.py:Flaky?first=1 + bandit", "--step-seconds", "1.5")
    shown = run(folder, "evaluate", "--agent", "random", *limit, "--episodes", "4", "--parallel", "1", "--json")
    assert [row["errors"] for row in json.loads(shown[shown.index("[") : shown.rindex("]") + 1])] == [1]
    shown = run(folder, "play", "--agent", "random", *limit, "--episodes", "3", status=1)
    assert "1 of 3 episodes failed; the last: " in shown
    assert "Flaky?first=1: expected a result of step within 1.5 s, got none" in shown
    (folder / "run.toml").write_text(
        '[run]\ngame = "flaky.py:Flaky?first=9"\n[rollout]\nstep_seconds = 1.5\nepisodes = 2\nparallel = 1\n'
    )
    shown = run(folder, "train", "--config", "run.toml", "--iterations", "1", "--out", "run")
    assert "errors 0" in shown
    assert json.loads((folder / "run" / "settings.json").read_text())["rollout"]["step_seconds"] == 1.5
    code = ("--import", "flaky.py", "--iterations", "2", "--step-seconds", "2")
    run(folder, "train", "--resume", "--out", "run", *code)
