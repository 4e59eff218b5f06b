"""Training runs that learn from recorded play: equal to live imitation, resumable, and refused where impossible."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from agents.config import TrainConfig
from agents.play import transcript
from agents.play.episode import Episode
from agents.play.transcript_index import TranscriptIndex
from agents.protocol import AgentError
from agents.storage.checkpoint import read_tensors
from agents.storage.checkpoint_files import INITIAL, WEIGHTS, newest
from agents.storage.run_folder import DATA, read_metrics
from agents.training import presets
from agents.training.factory import make_trainer
from games import GameError
from tests.agents.training.test_recorded_play import shifted
from tests.agents.training.test_trainer import assert_same_run, settings, trained
from tests.helpers.command_line import answer, cli
from tests.helpers.processes import run_two

GAME = "textworld:simple?seed=1"
BELL = """
import gymnasium


class Bell(gymnasium.Env):
    action_space = gymnasium.spaces.Text(20)
    observation_space = gymnasium.spaces.Text(200)

    def reset(self, *, seed=None, options=None):
        return "A bell.", {"admissible_commands": ["ring", "wait"]}

    def step(self, command):
        return "It rang.", float(command == "ring"), True, False, {"admissible_commands": []}
"""


def imitation(out: Path, **changes: Any) -> dict[str, torch.Tensor]:
    """Train by imitation on a text adventure, and return the weights."""
    usual = {"game": GAME, "optimizer": "imitation", "episodes": 2, "parallel": 2, "iterations": 3, "tracker": "none"}
    trained(presets.resolve(usual | changes), out)
    return read_tensors(newest(out) / "model.safetensors")


def distance(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> float:
    return max(float((found[name] - wanted[name]).abs().max()) for name in wanted)


def rewritten(source: Path, out: Path, change: Any) -> Path:
    """Apply `change` to each episode in the transcript of a run, and write the result to `out`."""
    rows = [json.loads(line) for line in (source / transcript.NAME).read_text().splitlines()]
    episodes = [change(Episode.from_json(row["episode"])) for row in rows]
    transcript.append(out, (transcript.Entry(iteration=0, episode=episode) for episode in episodes))
    return out


def test_imitation_of_a_recorded_expert_gives_the_weights_of_live_imitation(tmp_path: Path) -> None:
    live = imitation(tmp_path / "live")
    from_run = imitation(tmp_path / "run", data=str(tmp_path / "live"))
    played_first = imitation(tmp_path / "expert", data="expert:2")
    wrong = imitation(tmp_path / "wrong", data=str(rewritten(tmp_path / "live", tmp_path / "shifted.jsonl", shifted)))
    assert distance(from_run, live) < 1e-5 and distance(played_first, live) < 1e-5
    assert distance(wrong, live) > 1e-3


def test_recorded_play_of_the_expert_wins_the_game(tmp_path: Path) -> None:
    imitation(
        tmp_path / "run", data="expert:1", episodes=1, iterations=20, eval_game=GAME, eval_every=20, eval_episodes=2
    )
    metrics = read_metrics(tmp_path / "run")
    assert metrics[0]["initial_eval_success"] == 0.0 and metrics[-1]["eval_success"] == 1.0
    assert metrics[-1]["data_agreement"] == 1.0 and metrics[-1]["data_passes"] == 20


ALONE = {"optimizer": "imitation", "data": "random:9", "kl_coef": 0.0, "kl_target": None}
MIXED = {"optimizer": "rejection", "data": "random:9", "data_share": 0.5, "top_fraction": 0.5}

Q = {"optimizer": "ilql", "q_heads": 2, "target_q": True, "target_rate": 0.1, "guide_beta": 2.0}


@pytest.mark.parametrize(
    "changes", [ALONE, MIXED, ALONE | Q, MIXED | Q], ids=["alone", "mixed", "ilql alone", "ilql mixed"]
)
def test_a_resumed_run_with_data_equals_an_uninterrupted_one(changes: dict[str, Any], tmp_path: Path) -> None:
    saved = tmp_path / "saved.jsonl"
    trained(settings("bandit", iterations=1), tmp_path / "source")
    (tmp_path / "source" / transcript.NAME).rename(saved)
    wanted = settings("bandit", **(changes | {"data": f"{changes['data']},{saved}"}))
    whole = trained(wanted, tmp_path / "whole")
    part = trained(wanted.replace(iterations=3), tmp_path / "part")
    saved.unlink()  # the run has its own copy
    assert_same_run(trained(wanted, part, resume=True), whole)
    assert (part / DATA).read_bytes() == (whole / DATA).read_bytes()
    first, last = (read_tensors(folder / WEIGHTS) for folder in (whole / INITIAL, newest(whole)))
    targets = [name for name in last if name.startswith("heads.target_q")]
    assert targets and all((first[name] != last[name]).any() for name in targets), "the run has moved the target heads"
    played = 3 * 6 if "data_share" in changes else 0
    assert len((whole / transcript.NAME).read_text().splitlines()) == played


def test_a_resumed_run_needs_its_data(tmp_path: Path) -> None:
    wanted = settings("bandit", **ALONE)
    part = trained(wanted.replace(iterations=2), tmp_path / "run")
    (part / DATA).unlink()
    with pytest.raises(AgentError, match=r"data\.jsonl is missing"):
        make_trainer(wanted, part, resume=True)
    assert (part / "settings.json").exists(), "a failure deletes nothing of a run that has begun"


def test_a_data_share_below_one_plays_the_other_episodes(tmp_path: Path) -> None:
    trained(settings("bandit", **MIXED, iterations=2), tmp_path / "run")
    last = read_metrics(tmp_path / "run")[-1]
    assert last["episodes"] == 2 * 3 and last["env_steps"] == 6 and last["data_passes"] > 0


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--optimizer", "ppo", "--data", "random:3"), "ppo learns from its own play only: leave out --data"),
        (("--optimizer", "actde", "--data", "random:3"), "actde learns from its own play only"),
        (("--optimizer", "grpo", "--group-size", "2", "--data", "random:3"), "grpo learns from its own play only"),
        (("--optimizer", "imitation", "--data", "random:x"), "--data expects a path, or episodes as in random:20"),
        (("--optimizer", "imitation", "--data", "nowhere"), "nowhere does not exist; expected the folder of a run"),
        (
            ("--optimizer", "imitation", "--data", "exprt:2"),
            "transcript file, or episodes as in random:20 or expert:20",
        ),
        (("--optimizer", "imitation", "--data", "."), "holds no transcripts.jsonl"),
        (("--optimizer", "imitation", "--data", "expert:2"), "needs a game with a walkthrough"),
        (("--optimizer", "rejection", "--data", "random:4", "--stop-success", "0.5"), "give --data-share below 1"),
        (("--optimizer", "imitation", "--data", "random:4", "--data-share", "0"), "data-share must be"),
    ],
)
def test_data_that_cannot_be_learned_from_is_one_line(
    words: tuple[str, ...], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli("train", "--game", "bandit", "--episodes", "4", "--out", str(tmp_path / "run"), *words)
    assert result.returncode == 2 and problem in result.stderr
    assert not [path for path in tmp_path.glob("run/*") if path.name != ".lock"]


def test_recorded_play_with_unknown_words_is_named(tmp_path: Path) -> None:
    source = trained(settings("bandit?arms=red,blue", iterations=1), tmp_path / "source")
    config = settings("bandit?arms=red,green", **ALONE | {"data": f"random:3,{source}"})
    with pytest.raises(AgentError) as caught:
        make_trainer(config, tmp_path / "run")
    assert str(caught.value) == (
        f"--data {source} with episodes of bandit?arms=red,blue cannot be used: the model does not know the word "
        "'blue'; expected words of the games on which it was trained"
    )
    assert not [path for path in (tmp_path / "run").iterdir() if path.name != ".lock"]


def test_a_run_that_played_no_episodes_has_no_transcript(tmp_path: Path) -> None:
    run = trained(settings("bandit", **ALONE), tmp_path / "run")
    problem = r"run has no transcript: the run was trained on recorded play \(--data\) and played no episodes; name the"
    with pytest.raises(AgentError, match=problem):
        make_trainer(settings("bandit", **ALONE | {"data": str(run)}), tmp_path / "other")
    with pytest.raises(AgentError, match=problem):
        list(TranscriptIndex(run / transcript.NAME).read())


def test_random_play_of_a_game_without_commands_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    config = settings("completion?max_tokens=2", optimizer="rejection", mode="free", data="random:3")
    with pytest.raises(AgentError, match="--data random:N and expert:N need games with admissible commands; give"):
        make_trainer(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_damaged_transcript_leaves_no_run(tmp_path: Path) -> None:
    words = ("--game", "bandit", "--episodes", "4", "--iterations", "2", "--out")
    answer("train", *words, str(tmp_path / "source"))
    path = tmp_path / "source" / transcript.NAME
    path.write_text(path.read_text()[:-30])
    data = ("--optimizer", "imitation", "--data", str(path))
    result = cli("train", *words, str(tmp_path / "run"), *data)
    assert result.returncode == 2 and result.stderr.count("\n") == 1 and "line 8 is damaged" in result.stderr
    assert [path.name for path in (tmp_path / "run").iterdir()] in ([], [".lock"])
    again = cli("train", *words, str(tmp_path / "run"), "--optimizer", "imitation", "--data", "random:3")
    assert again.returncode == 0 and "2/2" in again.stdout and "watch its episodes" not in again.stdout
    assert again.stderr == "recorded episodes: 3, with 3 turns in total\n"


def test_play_of_a_held_out_game_is_refused(tmp_path: Path) -> None:
    trained(settings("bandit", iterations=1), tmp_path / "source")
    held_out = "textworld:simple?level=1&seed=2000000005"
    path = rewritten(tmp_path / "source", tmp_path / "held.jsonl", lambda episode: replace(episode, game=held_out))
    with pytest.raises(GameError, match="is held out for evaluation"):
        trained(settings("bandit", **(ALONE | {"data": str(path)})), tmp_path / "run")
    assert not (tmp_path / "run" / "settings.json").exists()


def test_the_option_is_repeatable_and_makes_paths_absolute(tmp_path: Path) -> None:
    asked = ("train", "--optimizer", "imitation", "--dry-run", "--json", "--data", "random:3", "--data", "saved")
    assert json.loads(answer(*asked))["data"]["value"] == f"random:3,{Path('saved').absolute()}"
    assert TrainConfig.from_flat({"data": "random:3,random:3"}).rollout.data == "random:3"


def test_a_new_trunk_knows_the_words_of_recorded_play(tmp_path: Path) -> None:
    code = tmp_path / "bell.py"
    code.write_text(BELL)
    trained(settings("bandit", iterations=1), tmp_path / "source")
    path = rewritten(tmp_path / "source", tmp_path / "heard.jsonl", lambda e: replace(e, final_observation="Kerplunk"))
    wanted = settings(f"{code}:Bell", optimizer="imitation", data=str(path), kl_coef=0.0, kl_target=None, iterations=1)
    vocabulary = make_trainer(wanted, tmp_path / "run").agent.tokenizer.get_vocab()
    assert {"kerplunk", "bell"} <= vocabulary.keys()


IMITATION = ("--game", "bandit", "--optimizer", "imitation", "--data", "random:8", "--parallel", "4")


def test_two_processes_share_the_episodes_of_one(tmp_path: Path) -> None:
    words = (*IMITATION, "--iterations", "3")
    one = cli("train", "--out", str(tmp_path / "one"), *words, "--episodes", "4")
    _, second = run_two("train", "--out", str(tmp_path / "two"), *words, "--episodes", "2")
    assert one.returncode == 0 and second == ("", "")
    assert (tmp_path / "one" / DATA).read_bytes() == (tmp_path / "two" / DATA).read_bytes()
    names = ("data_passes", "data_agreement", "policy_loss", "return")
    ours, theirs = ([[row[name] for name in names] for row in read_metrics(tmp_path / run)] for run in ("one", "two"))
    assert theirs == [pytest.approx(row, rel=1e-3, abs=1e-5) for row in ours]


@pytest.mark.slow
def test_another_number_of_processes_continues_the_passes_over_the_data(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run_two("train", "--out", str(out), *IMITATION, "--episodes", "2", "--iterations", "1")
    assert cli("train", "--out", str(out), "--resume", "--iterations", "2").returncode == 0
    run_two("train", "--out", str(out), "--resume", "--iterations", "4")
    found = [row["data_passes"] for row in read_metrics(out)]
    assert found == pytest.approx([episodes / 8 for episodes in (4, 6, 10, 14)])
