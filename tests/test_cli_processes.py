"""`train` in two processes: they stop together, record the episodes of both, and resume exactly."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agents.play import transcript
from agents.protocol import AgentError
from agents.storage.checkpoint_files import BEST, INITIAL, checkpoints
from tests import ROOT
from tests.helpers import pages
from tests.helpers.command_line import cli
from tests.helpers.processes import finish, run_two, start_two

TESTS = ("--eval-game", "ipd", "--eval-every", "2", "--eval-episodes", "3")
IPD = ("--game", "ipd", "--episodes", "3", "--parallel", "3", "--trunk", "pico", "--save-every", "2", *TESTS)


def train(out: Path, *arguments: str, status: int = 0) -> list[tuple[str, str]]:
    return run_two("train", "--out", str(out), *arguments, status=status)


def metrics(out: Path) -> list[dict[str, Any]]:
    lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    measured = re.compile("second|peak_memory")
    return [{name: value for name, value in line.items() if not measured.search(name)} for line in lines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of four iterations."""
    out = tmp_path_factory.mktemp("whole") / "run"
    first, second = train(out, *IPD, "--iterations", "4")
    assert "4/4" in first[0] and second == ("", ""), "one process prints"
    return out


def test_the_episodes_of_both_processes_are_recorded(whole: Path) -> None:
    entries = list(transcript.read(whole / transcript.NAME))
    numbers = [entry.episode.index for entry in entries]
    assert numbers == list(range(24)), "four iterations of three episodes in each process"
    assert len({entry.episode.seed for entry in entries}) == 24
    steps = sum(len(entry.episode.steps) for entry in entries)
    assert (metrics(whole)[-1]["episodes"], metrics(whole)[-1]["env_steps"]) == (24, steps)
    mine = [entry.episode.reward for entry in entries if entry.iteration == 3]
    assert metrics(whole)[-1]["reward"] == pytest.approx(sum(mine) / 6)


def test_both_processes_play_held_out_games(whole: Path) -> None:
    measured = {line["iteration"] + 1: line["eval_reward"] for line in metrics(whole) if "eval_reward" in line}
    measured[0] = metrics(whole)[0]["initial_eval_reward"]
    assert sorted(measured) == [0, 2, 4]
    best = json.loads((checkpoints(whole)[-1] / "state.json").read_text())["best"]
    assert best["value"] == max(measured.values()) == measured[best["iteration"]]
    same = {0: whole / INITIAL, 4: checkpoints(whole)[-1]}.get(best["iteration"], checkpoints(whole)[0])
    name = "model.safetensors"
    assert (whole / BEST / name).read_bytes() == (same / name).read_bytes()


@pytest.mark.slow
def test_a_resumed_run_of_two_processes_equals_an_uninterrupted_one(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(out, *IPD, "--iterations", "2")
    train(out, "--resume", "--iterations", "4")
    assert metrics(out) == metrics(whole)
    assert (out / transcript.NAME).read_bytes() == (whole / transcript.NAME).read_bytes()
    for name in ("model.safetensors", "training.safetensors"):
        assert (checkpoints(out)[-1] / name).read_bytes() == (checkpoints(whole)[-1] / name).read_bytes()
    assert (out / BEST / "model.safetensors").read_bytes() == (whole / BEST / "model.safetensors").read_bytes()


def test_a_run_resumes_with_another_number_of_processes(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    done = cli("train", "--out", str(out), "--resume", "--iterations", "5")
    assert done.returncode == 0, done.stderr
    train(out, "--resume", "--iterations", "6")
    numbers = [entry.episode.index for entry in transcript.read(out / transcript.NAME)]
    assert numbers == list(range(24 + 3 + 6)), "three new episodes of one process, then three of each of two"
    assert [line["episodes"] for line in metrics(out)[-3:]] == [24, 27, 33]
    lines = (out / transcript.NAME).read_text().splitlines(keepends=True)
    (out / transcript.NAME).write_text("".join(lines[:25] + lines[26:]))
    with pytest.raises(AgentError, match="iteration 4 has 2 lines, expected 6"):
        list(transcript.read(out / transcript.NAME))


def test_groups_that_cannot_be_divided_among_the_processes_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "run"
    grpo = ("--optimizer", "grpo", "--game", "bandit", "--trunk", "pico", "--episodes", "4", "--group-size", "4")
    assert cli("train", "--out", str(out), *grpo, "--iterations", "1").returncode == 0
    _, (_, error) = train(out, "--resume", "--iterations", "2", status=2)[::-1]
    expected = "was saved by 1 processes after 4 episodes, which 2 processes cannot continue in groups of 4"
    assert expected in error and "resume with 1 processes" in error


@pytest.mark.parametrize(
    "limit",
    [
        ("--env-steps", "100"),
        *(pytest.param(more, marks=pytest.mark.slow) for more in (("--minutes", "0.01"), ("--stop-success", "0.01"))),
    ],
)
def test_both_processes_reach_a_limit_together(limit: tuple[str, str], tmp_path: Path) -> None:
    game = ("--game", "bandit", "--episodes", "30", "--parallel", "30", "--trunk", "pico")
    train(tmp_path / "run", *game, *limit, "--iterations", "1000")
    iterations = len(metrics(tmp_path / "run"))
    assert 1 <= iterations < 1000
    assert checkpoints(tmp_path / "run")[-1].name == f"{iterations:06d}"


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.slow
def test_ctrl_c_in_one_process_stops_both(rank: int, tmp_path: Path) -> None:
    out = tmp_path / "run"
    workers = start_two([str(ROOT / "cli.py"), "train", "--out", str(out), *IPD, "--iterations", "1000"])
    assert workers[0].stdout is not None
    workers[0].stdout.readline()  # the first iteration
    workers[rank].send_signal(signal.SIGINT)
    first, _ = finish(workers, status=130)
    torchrun = f"torchrun --standalone --nproc-per-node 2 {ROOT / 'cli.py'}"
    assert f"continue with: {torchrun} train --resume --out {out}" in first[1]
    assert checkpoints(out)[-1].name == f"{len(metrics(out)):06d}"


@pytest.mark.slow
def test_the_command_of_the_page_trains_in_two_processes(tmp_path: Path) -> None:
    launcher, *words = shlex.split(pages.commands("docs/processes.md")[0], comments=True)
    assert (launcher, words[-2]) == ("torchrun", "--out")
    words = [*words[:-1], str(tmp_path / "run"), "--episodes", "3", "--iterations", "1", "--trunk", "pico"]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *words],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert metrics(tmp_path / "run")[0]["episodes"] == 6


def test_both_processes_have_the_words_of_process_0(tmp_path: Path) -> None:
    game = tmp_path / "words.py"
    game.write_text(
        "import os, gymnasium\n"
        "class Words(gymnasium.Env):\n"
        "    observation_space = action_space = gymnasium.spaces.Text(100)\n"
        "    def reset(self, seed=None, options=None):\n"
        "        text = ['One', 'Two other words'][int(os.environ['RANK'])]\n"
        "        return text, {'admissible_commands': ['a', 'b']}\n"
        "    def step(self, command):\n"
        "        return 'Done', 1.0, True, False, {'admissible_commands': []}\n"
    )
    words = ("--game", f"{game}:Words", "--trunk", "pico", "--episodes", "3", "--iterations", "1")
    train(tmp_path / "run", *words)
    assert metrics(tmp_path / "run")[0]["episodes"] == 6


def test_failed_episodes_of_both_processes_are_counted(tmp_path: Path) -> None:
    game = tmp_path / "once.py"
    game.write_text(
        "import os, gymnasium\n"
        "class Once(gymnasium.Env):\n"
        "    observation_space = action_space = gymnasium.spaces.Text(100)\n"
        "    steps = 0\n"
        "    def reset(self, seed=None, options=None):\n"
        "        return 'Which?', {'admissible_commands': ['a', 'b']}\n"
        "    def step(self, command):\n"
        "        Once.steps += 1\n"
        "        if os.environ['RANK'] == '1' and Once.steps == 2: raise OSError('no such device')\n"
        "        return 'Done', 1.0, True, False, {'admissible_commands': []}\n"
    )
    words = ("--game", f"{game}:Once", "--trunk", "pico", "--episodes", "3", "--iterations", "1")
    first, second = train(tmp_path / "run", *words)
    assert second == ("", "")
    assert first[1].startswith("1 of 6 episodes failed; the last: ") and "no such device" in first[1]


@pytest.mark.slow
def test_a_failing_disk_of_process_0_is_one_line_of_the_run(tmp_path: Path) -> None:
    out = tmp_path / "run"
    workers = start_two([str(ROOT / "cli.py"), "train", "--out", str(out), *IPD, "--iterations", "1000"])
    assert workers[0].stdout is not None
    workers[0].stdout.readline()  # the first iteration
    (out / "metrics.jsonl").rename(tmp_path / "metrics.jsonl")
    (out / "metrics.jsonl").mkdir()
    first, second = finish(workers, status=1)
    assert second == ("", "")
    assert "Traceback" not in first[1]  # the lines before the last are notes and progress
    assert first[1].splitlines()[-1] == f"error: expected a file, but this is a folder: {out / 'metrics.jsonl'}"


def test_a_folder_that_process_0_cannot_create_is_one_line_of_the_run(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    shutil.rmtree(out / "tensorboard")
    (out / "tensorboard").write_text("a file")
    first, second = train(out, "--resume", "--iterations", "5", status=1)
    assert second == ("", "")
    assert first[1].count("\n") == 1 and first[1].startswith("error: ") and str(out / "tensorboard") in first[1]


def test_an_error_in_one_process_is_one_line_of_the_run(tmp_path: Path) -> None:
    game = tmp_path / "fails.py"
    game.write_text(
        "import os, gymnasium\n"
        "class Fails(gymnasium.Env):\n"
        "    observation_space = action_space = gymnasium.spaces.Text(100)\n"
        "    def reset(self, seed=None, options=None):\n"
        "        if os.environ['RANK'] == '1': raise OSError('no such device')\n"
        "        return 'Which?', {'admissible_commands': ['a', 'b']}\n"
        "    def step(self, command):\n"
        "        return 'Done', 1.0, True, False, {'admissible_commands': []}\n"
    )
    first, second = train(tmp_path / "run", "--game", f"{game}:Fails", "--trunk", "pico", status=2)
    assert second == ("", "")
    assert first[1].count("\n") == 1 and "no such device" in first[1]
