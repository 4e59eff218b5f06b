"""Held-out games during training: the model plays alone, the training does not change, and the best agent is kept."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import binomtest

from agents import AgentError, make_agent
from agents.config import TrainConfig
from agents.play import transcript
from agents.storage.checkpoint import read_tensors
from agents.storage.checkpoint_files import BEST, INITIAL, newest
from agents.storage.run_folder import read_metrics
from agents.training.factory import make_trainer
from agents.training.held_out import HeldOutGames
from agents.training.progress import Progress
from games import FatalGameError, GameError, resolve
from games.textworld.generation.reserved_seeds import RESERVED
from tests.agents.training.test_trainer import TIMES, assert_same_run

GAME, TESTS = "textworld:coin?level=2..3&seed=1..2", "textworld:coin?level=2..3&seed=5..7"
WEIGHTS = "model.safetensors"


def settings(**changes: Any) -> TrainConfig:
    usual: dict[str, Any] = {
        "game": GAME,
        "optimizer": "actde",
        "trunk": "pico",
        "context": 128,
        "episodes": 4,
        "parallel": 3,
        "max_turns": 8,
        "epochs": 1,
        "lr": 3e-3,
        "iterations": 5,
        "save_every": 100,
        "eval_game": TESTS,
        "eval_every": 2,
        "eval_episodes": 12,
    }
    return TrainConfig.from_flat(usual | changes)


def trained(wanted: TrainConfig, out: Path, *, resume: bool = False) -> Path:
    list(make_trainer(wanted, out, resume=resume).run())
    return out


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(settings(), tmp_path_factory.mktemp("held_out") / "run")


def values(run: Path) -> dict[int, float]:
    """The success rate by number of finished iterations."""
    lines = read_metrics(run)
    found = {line["iteration"] + 1: line["eval_success"] for line in lines if "eval_success" in line}
    return {0: lines[0]["initial_eval_success"]} | found


def same_weights(one: Path, other: Path) -> bool:
    ours, theirs = read_tensors(one / WEIGHTS), read_tensors(other / WEIGHTS)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_it_plays_before_the_training_every_n_iterations_and_at_the_end(run: Path) -> None:
    assert list(values(run)) == [0, 2, 4, 5]
    for line in read_metrics(run):
        if "eval_success" in line:
            wins = round(12 * line["eval_success"])
            interval = binomtest(wins, 12).proportion_ci(method="wilson")
            assert (line["eval_success_low"], line["eval_success_high"]) == (interval.low, interval.high)
            assert line["eval_errors"] == 0
    games = {entry.episode.game for entry in transcript.read(run / transcript.NAME)}
    assert games == {spec.name for spec in resolve(GAME)}, "no episode of the evaluation trains the model"


def test_it_does_not_change_the_training(run: Path, tmp_path: Path) -> None:
    alone = read_metrics(trained(settings(eval_game=""), tmp_path / "run"))
    for with_tests, without in zip(read_metrics(run), alone, strict=True):
        assert not any("eval" in name for name in without)
        rest = {name: value for name, value in with_tests.items() if "eval" not in name}
        assert rest | dict.fromkeys(TIMES) == without | dict.fromkeys(TIMES)


def test_the_first_of_the_best_agents_is_kept_and_can_be_named(run: Path) -> None:
    found = values(run)
    best = max(found, key=lambda iteration: found[iteration])  # the first of equal ones
    assert json.loads((newest(run) / "state.json").read_text())["best"] == {"iteration": best, "value": found[best]}
    stopped = {0: run / INITIAL, 5: newest(run)}
    if best in stopped:
        assert same_weights(run / BEST, stopped[best])
    assert not (run / BEST / "state.json").exists() and newest(run).name == "000005"
    make_agent(str(run / BEST), seed=0)
    with pytest.raises(AgentError, match=r"has no checkpoint 'bets'; it has initial, best, .*000005"):
        make_agent(str(run / "bets"), seed=0)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the success rates after 0, 1, 2, ... iterations by 0.2, 0.5, 0.9, 0.4, 0.9 and 0.1."""
    rates = [0.2, 0.5, 0.9, 0.4, 0.9, 0.1]

    class Estimate:
        low = high = 0.5

        def __init__(self, value: float) -> None:
            self.value = value

    measure = HeldOutGames.measure

    def scripted_measure(self: HeldOutGames, iteration: int, progress: Progress) -> dict[str, float]:
        monkeypatch.setattr("agents.training.held_out.wilson", lambda won: Estimate(rates[iteration]))
        return measure(self, iteration, progress)

    monkeypatch.setattr(HeldOutGames, "measure", scripted_measure)


@pytest.mark.usefixtures("scripted")
def test_a_resumed_run_keeps_the_same_best_agent(tmp_path: Path) -> None:
    wanted = settings(eval_every=1, eval_episodes=2)
    whole = trained(wanted, tmp_path / "whole")
    assert [path.name for path in sorted((whole / "checkpoints").iterdir())] == ["000002", "000005"]
    assert same_weights(whole / BEST, whole / "checkpoints" / "000002")
    assert not same_weights(whole / BEST, whole / "checkpoints" / "000005")

    parts = tmp_path / "parts"
    trainer = make_trainer(wanted, parts)
    for metrics in trainer.run():
        trainer.stopping = metrics["iteration"] == 0
    assert same_weights(parts / BEST, newest(parts)) and newest(parts).name == "000001"
    shutil.rmtree(parts / BEST)  # as if the process had been killed between the two checkpoints
    make_trainer(wanted, parts, resume=True).folder.unlock()
    assert same_weights(parts / BEST, newest(parts))
    trainer = make_trainer(wanted, parts, resume=True)
    for metrics in trainer.run():
        trainer.stopping = metrics["iteration"] == 2
    trained(wanted, parts, resume=True)
    assert_same_run(parts, whole)
    assert same_weights(parts / BEST, whole / BEST)


@pytest.mark.usefixtures("scripted")
def test_a_run_that_is_killed_after_its_best_evaluation_keeps_the_agent(tmp_path: Path) -> None:
    trainer = make_trainer(settings(eval_every=1, eval_episodes=2), tmp_path / "run")
    for metrics in trainer.run():
        if metrics["iteration"] == 3:
            break  # the last checkpoint of save_every would be 100
    assert same_weights(tmp_path / "run" / BEST, tmp_path / "run" / "checkpoints" / "000002")


def test_games_without_a_win_are_measured_by_their_return(tmp_path: Path) -> None:
    trainer = make_trainer(settings(game="ipd", eval_game="ipd", iterations=1), tmp_path / "run")
    assert trainer.notes == ["the model is trained on 1 of the 1 games of --eval-game"]
    [metrics] = trainer.run()
    assert metrics["eval_reward_low"] <= metrics["eval_reward"] <= metrics["eval_reward_high"]
    assert "eval_success" not in metrics and "initial_eval_reward" in metrics


def test_the_expert_does_not_play_the_held_out_games(tmp_path: Path) -> None:
    trainer = make_trainer(settings(optimizer="imitation", max_turns=3, iterations=2), tmp_path / "run")
    for metrics in trainer.run():
        assert metrics["success_with_expert"] == 1.0
        assert not {"success", "recent_success"} & metrics.keys()
    assert metrics["eval_success"] < 1.0


def test_the_processes_share_the_episodes(tmp_path: Path) -> None:
    config = settings(eval_episodes=5)
    trainer = make_trainer(config, tmp_path / "run")
    shares = {}
    for processes in (1, 3):
        for rank in range(processes):
            games = HeldOutGames(resolve(TESTS), config, agent=trainer.agent, rank=rank, processes=processes)
            shares[processes, rank] = games._play(Progress())[0]
    trainer.folder.unlock()
    assert [len(shares[3, rank]) for rank in range(3)] == [1, 2, 2]
    ours = [episode.to_json() for rank in range(3) for episode in shares[3, rank]]
    assert [(row["game"], row["seed"], row["won"]) for row in ours] == [
        (episode.game, episode.seed, episode.won) for episode in shares[1, 0]
    ]
    commands = [[step["decision"]["command"] for step in row["steps"]] for row in ours]
    assert commands == [[step.decision.command for step in episode.steps] for episode in shares[1, 0]]


def test_seeds_of_the_card_choose_no_agent(tmp_path: Path) -> None:
    reserved = settings(eval_game=f"textworld:coin?level=2&seed={RESERVED.start}")
    with pytest.raises(GameError, match="is held out for evaluation"):
        make_trainer(reserved, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_iteration_whose_evaluation_fails_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = settings(iterations=3, eval_every=1, eval_episodes=2)
    measure, failing = HeldOutGames.measure, {"now": True}

    def fails(self: HeldOutGames, iteration: int, progress: Progress) -> dict[str, float]:
        if iteration == 2 and failing["now"]:
            raise FatalGameError("the game fails")
        return measure(self, iteration, progress)

    monkeypatch.setattr(HeldOutGames, "measure", fails)
    with pytest.raises(FatalGameError):
        trained(wanted, tmp_path / "run")
    assert newest(tmp_path / "run").name == "000002" and "eval_success" not in read_metrics(tmp_path / "run")[1]
    failing["now"] = False
    trained(wanted, tmp_path / "run", resume=True)
    assert list(values(tmp_path / "run")) == [0, 1, 3]
