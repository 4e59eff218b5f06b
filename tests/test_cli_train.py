"""The commands `train` and `compare`: files, resumption and errors."""

import json
import os
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from tests import ROOT
from tests.helpers.command_line import answer, cli, surroundings
from tests.helpers.terminals import terminal, wait_for

TINY = ("--game", "bandit", "--episodes", "4", "--parallel", "4")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three iterations."""
    folder = tmp_path_factory.mktemp("train") / "run"
    shown = answer("train", "--out", str(folder), "--iterations", "3", *TINY)
    assert "3/3" in shown
    assert f"play --agent {folder}" in shown
    return folder


def test_a_run_leaves_settings_metrics_transcripts_and_a_checkpoint_that_plays(run: Path) -> None:
    settings = json.loads((run / "settings.json").read_text())
    assert settings["run"]["game"] == "bandit"
    assert settings["optimizer"]["gamma"] == 1.0  # the bandit's preset
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 3
    assert list((run / "tensorboard").rglob("events*"))
    played = json.loads(answer("play", "--agent", str(run), "--game", "bandit", "--json"))
    assert played["episodes"][0]["steps"][0]["decision"]["q_values"].keys() == {" party", " wedding"}
    watched = json.loads(answer("watch", str(run), "--json"))
    assert [episode["iteration"] for episode in watched] == [2] * 4
    assert watched[0]["steps"][0]["advantage"] is not None


def test_another_run_begins_with_it_and_evaluation_says_what_it_was_trained_on(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "next"
    words = ("--init", str(run), "--optimizer", "rejection", "--env-steps", "8", "--iterations", "9", *TINY)
    shown = json.loads(answer("train", "--out", str(folder), *words, "--json"))
    assert shown["metrics"]["env_steps"] == 8 and shown["metrics"]["iteration"] == 1
    asked = ("evaluate", "--agent", str(folder), "--game", "bandit", "--episodes", "4")
    rows = json.loads(cli(*asked, "--json").stdout)
    assert [(row["agent"], row["trained_on"]) for row in rows] == [(str(folder), 1), ("random", None)]
    assert "trained on 1 of the games" in " ".join(cli(*asked).stdout.split())


def test_a_run_resumes_with_its_own_settings(run: Path) -> None:
    shown = json.loads(answer("train", "--out", str(run), "--resume", "--iterations", "4", "--json"))
    assert shown["metrics"]["iteration"] == 3
    assert shown["settings"]["rollout"]["episodes"] == 4
    refused = cli("train", "--out", str(run), "--resume", "--lr", "1")
    assert refused.returncode == 2
    assert "--lr 0.001, not 1.0" in refused.stderr


def test_a_run_repeats_from_the_output_of_a_dry_run(run: Path, tmp_path: Path) -> None:
    path, folder = tmp_path / "run.toml", tmp_path / "run"
    path.write_text(answer("train", "--out", str(folder), "--iterations", "3", *TINY, "--dry-run"))
    assert not folder.exists()
    shown = json.loads(answer("train", "--out", str(folder), "--config", str(path), "--iterations", "1", "--json"))
    settings = json.loads((folder / "settings.json").read_text())
    first = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    assert shown["settings"] == settings and settings["budget"].pop("iterations") == 1
    assert {name: shown["metrics"][name] for name in ("reward", "turn_entropy", "policy_loss")} == {
        name: first[name] for name in ("reward", "turn_entropy", "policy_loss")
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--optimizer", "acdte"), "did you mean 'actde'?"),
        (("--whitening", "bath"), "did you mean 'batch'?"),
        (
            ("--optimizer", "grpo", "--group-size", "3"),
            "expected a --group-size above 1 that divides --episodes 4, got 3",
        ),
        (("--episodes", "1000000000"), "--episodes must be a whole number from 1 to 1,000,000, got 1000000000"),
        (("--parallel", "1000000", "--episodes", "1000000"), "lower --parallel to "),
        (("--seed", "9223372036854775808"), "--seed must be a whole number from 0 to 9,223,372,036,854,775,807"),
        (("--kl-target", "1"), "--kl-target needs a --kl-coef above 0"),
        (
            ("--game", "completion", "--trunk", "pico", "--probe-prompts", "none.txt"),
            "--probe-prompts none.txt: no such",
        ),
        (("--lr", "fast"), "--lr must be a number of at least 0, got 'fast'"),
        (("--step-seconds", "0"), "--step-seconds must be a number above 0"),
        (("--game", "bad.py:X", "--step-seconds", "soon"), "--step-seconds must be a number above 0"),
        (("--gamma", "2"), "--gamma must be a number from 0 to 1"),
        (("--value-lr", "-1"), "--value-lr must be a number"),
        (("--trunk", "smolm2"), "did you mean 'smollm2'?"),
        (("--lora", "4"), "--lora adapts a pretrained trunk"),
        (("--init", "nowhere"), "nowhere holds no checkpoint"),
        (("--promote", "0.5"), "--promote needs games whose levels are known"),
        (("--optimizer", "imitation", "--stop-success", "0.5"), "the expert plays every turn; give --beta below 1"),
        (("--optimizer", "imitation", "--mode", "free"), "expected mode trie, got free"),
        (("--game", "textworld:simpel"), "did you mean 'simple'?"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_folder(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    folder = tmp_path / "run"
    options = dict(zip(TINY[::2], TINY[1::2], strict=True)) | dict(zip(arguments[::2], arguments[1::2], strict=True))
    done = cli("train", "--out", str(folder), *(word for option in options.items() for word in option))
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not folder.exists()


def test_a_folder_that_holds_a_run_is_refused(run: Path) -> None:
    before = sorted(path.name for path in run.iterdir())
    done = cli("train", "--out", str(run), *TINY)
    assert done.returncode == 2
    assert "already holds a run" in done.stderr
    assert sorted(path.name for path in run.iterdir()) == before


def test_ctrl_c_ends_and_saves_the_iteration_and_says_how_to_continue(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, str(ROOT / "cli.py"), "train", "--out", str(folder), "--iterations", "100000", *TINY]
    with subprocess.Popen(
        command, env=surroundings(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the first iteration is done
        process.send_signal(signal.SIGINT)
        begin = time.monotonic()
        _, errors = process.communicate(timeout=60)
        assert time.monotonic() - begin < 30
    assert process.returncode == 130
    assert "stopping after this iteration; press Ctrl-C again to stop now" in errors
    assert f"train --resume --out {folder}" in errors
    finished = len((folder / "metrics.jsonl").read_text().splitlines())
    assert (folder / "checkpoints" / f"{finished:06d}").is_dir()


@pytest.mark.slow
def test_a_second_ctrl_c_in_a_terminal_says_how_to_continue_and_leaves_the_panel_intact(tmp_path: Path) -> None:
    words = ("--game", "ipd", "--trunk", "pico", "--episodes", "1000", "--max-turns", "1000")
    with terminal("train", "--out", str(tmp_path / "run"), *words) as (process, keyboard):
        shown = wait_for(keyboard, "episodes,", 90)
        os.write(keyboard, b"\x03")
        shown += wait_for(keyboard, "stopping after this iteration")
        os.write(keyboard, b"\x03")
        shown += wait_for(keyboard, "nothing is kept")
        assert process.wait(30) == 130
        assert termios.tcgetattr(keyboard)[3] & termios.ECHOCTL, "the terminal is as it was"
    assert "^C" not in shown
    assert shown.splitlines()[-1] == "stopped; no iteration was complete: nothing is kept"


def test_compare_writes_a_report_and_trains_no_run_twice(tmp_path: Path) -> None:
    words: tuple[str, ...] = ("compare", "--out", str(tmp_path / "report"), "--seeds", "0", *TINY)
    words += ("--vary", "reward_scale=1,4", "--iterations", "2", "--evaluations", "8")
    words += ("--bonus", "0.5", "--bonus-command", "party")
    first = answer(*words)
    assert first.count("of the last episodes won") == 4
    results = json.loads((tmp_path / "report" / "results.json").read_text())
    assert [(row["optimizer"], row["value"]) for row in results["runs"]] == [
        ("ppo", 1),
        ("actde", 1),
        ("ppo", 4),
        ("actde", 4),
    ]
    shares = [row["evaluation"]["sampled"]["bonus_share"]["value"] for row in results["runs"]]
    assert max(shares) > 0
    assert "turns on the bonus, sampled" in (tmp_path / "report" / "README.md").read_text()
    assert len(results["runs"][0]["curves"]["bonus_share"]) == 2
    for name in ("README.md", "curves.svg", "sweep.svg", "collapse.svg"):
        assert (tmp_path / "report" / name).stat().st_size > 500
    runs = sorted((tmp_path / "report" / "runs").iterdir())
    courses = [(path / "metrics.jsonl").read_text() for path in runs]  # with the seconds that each step took
    made = [(path / "measures.json").stat().st_mtime_ns for path in runs]
    printed = json.loads(answer(*words, "--json"))
    assert [(path / "metrics.jsonl").read_text() for path in runs] == courses
    assert [(path / "measures.json").stat().st_mtime_ns for path in runs] == made
    stored = json.loads((tmp_path / "report" / "results.json").read_text())
    assert stored["runs"] == results["runs"]
    assert printed == {"out": str(tmp_path / "report"), **stored}


@pytest.mark.slow
def test_compare_names_runs_that_its_report_leaves_out(tmp_path: Path) -> None:
    words = ("compare", "--out", str(tmp_path), *TINY, "--iterations", "1", "--evaluations", "2", "--optimizers", "ppo")
    assert "leaves out" not in cli(*words, "--seeds", "0-1").stderr
    done = cli(*words, "--seeds", "1")
    assert done.stderr.splitlines()[-1] == f"{tmp_path / 'runs'} also holds runs that this report leaves out: ppo-seed0"


@pytest.mark.slow
def test_compare_measures_on_other_games_and_gives_an_optimizer_settings_of_its_own(tmp_path: Path) -> None:
    words: tuple[str, ...] = ("compare", "--out", str(tmp_path / "report"), "--seeds", "0", *TINY)
    words += ("--iterations", "1", "--evaluations", "4", "--optimizers", "ppo,ppo+kl_coef=0.5")
    answer(*words, "--tests", "bandit?rewards=0,0")
    results = json.loads((tmp_path / "report" / "results.json").read_text())
    for row, kl_coef in zip(results["runs"], (0.0, 0.5), strict=True):
        assert row["settings"]["optimizer"]["kl_coef"] == kl_coef
        sampled = row["evaluation"]["sampled"]
        assert sampled["game"] == "bandit?rewards=0,0" and sampled["trained_on"] == 0
    text = (tmp_path / "report" / "README.md").read_text()
    assert "Finished agents played `bandit?rewards=0,0`; none of them was trained on." in text
    assert "| ppo+kl_coef=0.5 |" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--vary", "reward_scale"), "NAME=VALUE"),
        (("--vary", "reward_scal=1"), "did you mean 'reward_scale'?"),
        (("--vary", "detach-q=true,yes"), "--detach-q must be true or false, got 'yes'"),
        (("--vary", "lr=none"), "lr must be a number"),
        (("--optimizers", "ppo+kl_coef"), "expected NAME+SETTING=VALUE"),
        (("--optimizers", "ppo+kl_cof=1"), "unknown setting 'kl_cof'"),
        (("--tests", "bandid"), "bandit"),
    ],
)
def test_compare_refuses_before_it_trains(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = cli("compare", "--out", str(tmp_path / "report"), *words, *TINY)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "report").exists()
