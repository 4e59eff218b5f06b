"""Training runs: the same command gives the same result, also after an interruption."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents.config import TrainConfig
from agents.play import transcript
from agents.protocol import AgentError
from agents.storage.checkpoint import load_agent, read_tensors
from agents.storage.checkpoint_files import newest
from agents.storage.run_folder import read_metrics
from agents.training.factory import make_trainer
from games.errors import PathError
from games.files import file_lock

TIMES = {"seconds", "rollout_seconds", "update_seconds", "steps_per_second", "tokens_per_second", "peak_memory"}
LEARNING = {"gamma": 0.5, "value_coef": 0.5, "kl_coef": 0.05, "kl_target": 0.01}


def settings(game: str, **changes: Any) -> TrainConfig:
    """A small run with all sources of randomness."""
    usual = {
        "game": game,
        "optimizer": "actde",
        "trunk": "pico",
        "dropout": 0.1,
        "rollout_dropout": True,
        "target_q": True,
        "episodes": 6,
        "parallel": 4,
        "max_turns": None if game == "bandit" else 6,
        "epochs": 2,
        "minibatches": 2,
        "lr": 3e-3,
        "iterations": 6,
        "save_every": 2,
    }
    return TrainConfig.from_flat(usual | LEARNING | changes)


def trained(wanted: TrainConfig, out: Path, *, resume: bool = False) -> Path:
    torch.manual_seed(int.from_bytes(out.name.encode()[:4], "big"))  # what came before must not matter
    list(make_trainer(wanted, out, resume=resume).run())
    return out


def timeless(out: Path) -> list[dict[str, Any]]:
    return [{name: value for name, value in line.items() if name not in TIMES} for line in read_metrics(out)]


def assert_same_run(found: Path, wanted: Path) -> None:
    assert timeless(found) == timeless(wanted)
    assert (found / transcript.NAME).read_bytes() == (wanted / transcript.NAME).read_bytes()
    for name in ("model.safetensors", "training.safetensors"):
        ours, theirs = (read_tensors(newest(out) / name) for out in (found, wanted))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name
    states = [json.loads((newest(out) / "state.json").read_text()) | {"seconds": 0} for out in (found, wanted)]
    assert states[0] == states[1]


@pytest.fixture(scope="module", params=["bandit", "ipd"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainConfig, Path]:
    """An uninterrupted run."""
    wanted = settings(request.param)
    return wanted, trained(wanted, tmp_path_factory.mktemp("whole") / "run")


def test_the_same_command_gives_the_same_result(whole: tuple[TrainConfig, Path], tmp_path: Path) -> None:
    wanted, run = whole
    assert_same_run(trained(wanted, tmp_path / "again"), run)


def test_another_seed_gives_another_result(whole: tuple[TrainConfig, Path], tmp_path: Path) -> None:
    wanted, run = whole
    other = trained(wanted.replace(seed=1, iterations=2), tmp_path / "other")
    assert timeless(other) != timeless(run)[:2]
    assert (other / transcript.NAME).read_text().splitlines()[0] != (run / transcript.NAME).read_text().splitlines()[0]


def test_a_stopped_and_resumed_run_equals_an_uninterrupted_one(whole: tuple[TrainConfig, Path], tmp_path: Path) -> None:
    wanted, run = whole
    trainer = make_trainer(wanted, tmp_path / "run")
    for metrics in trainer.run():
        trainer.stopping = metrics["iteration"] == 2
    assert newest(tmp_path / "run").name == "000003"
    assert_same_run(trained(wanted, tmp_path / "run", resume=True), run)


def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(whole: tuple[TrainConfig, Path], tmp_path: Path) -> None:
    """The checkpoint holds two of the three iterations. The files end with an incomplete line of the fourth."""
    wanted, run = whole
    out = tmp_path / "run"
    trainer = make_trainer(wanted, out)
    for _ in range(3):
        trainer.iterate()
        if trainer.iteration == 2:
            trainer.save()
    trainer.runner.close()
    for name in ("metrics.jsonl", transcript.NAME):
        with (out / name).open("a") as file:
            file.write('{"iteration": 3, "half')
    assert_same_run(trained(wanted, out, resume=True), run)


def test_killed_before_the_first_checkpoint(whole: tuple[TrainConfig, Path], tmp_path: Path) -> None:
    wanted, run = whole
    trainer = make_trainer(wanted, tmp_path / "run")
    trainer.iterate()
    trainer.runner.close()
    assert_same_run(trained(wanted, tmp_path / "run", resume=True), run)


def test_a_larger_budget_continues_a_run(whole: tuple[TrainConfig, Path], tmp_path: Path) -> None:
    wanted, run = whole
    out = trained(wanted.replace(iterations=4), tmp_path / "run")
    assert [path.name for path in sorted((out / "checkpoints").iterdir())] == ["000002", "000004"]
    assert_same_run(trained(wanted, out, resume=True), run)
    trainer = make_trainer(wanted, out, resume=True)
    assert list(trainer.run()) == []
    ended = f"the run in {out} is complete: it ended after iteration 6"
    assert trainer.notes == [f"{ended}; a larger --iterations continues it"]
    before = (out / "settings.json").read_bytes()
    with pytest.raises(AgentError, match=r"has finished 6 iterations: expected --iterations 6 or more, got 4$"):
        make_trainer(wanted.replace(iterations=4), out, resume=True)
    assert (out / "settings.json").read_bytes() == before


def test_a_complete_run_names_the_limit_that_ended_it(tmp_path: Path) -> None:
    wanted = settings("bandit", iterations=5, env_steps=1)
    out = trained(wanted, tmp_path / "run")
    (note,) = make_trainer(wanted, out, resume=True).notes
    assert note.endswith("is complete: it ended after iteration 1; a larger --env-steps continues it")


def test_a_run_that_stops_before_its_first_iteration_is_complete_can_start_again(tmp_path: Path) -> None:
    wanted, out = settings("bandit", optimizer="imitation"), tmp_path / "run"
    for _ in range(2):  # the second time, nothing of the first is in the way
        with pytest.raises(AgentError, match="the expert has no labels"):
            trained(wanted, out)
    assert [path.name for path in out.iterdir()] in ([], [".lock"])


def test_a_run_that_is_stopped_before_its_first_iteration_leaves_nothing(tmp_path: Path) -> None:
    trainer = make_trainer(settings("bandit"), tmp_path / "run")
    trainer.stopping = True
    assert list(trainer.run()) == []
    assert [path.name for path in (tmp_path / "run").iterdir()] in ([], [".lock"])


def test_a_stop_in_the_last_iteration_is_no_stop(tmp_path: Path) -> None:
    trainer = make_trainer(settings("bandit", iterations=1), tmp_path / "run")
    for _ in trainer.run():
        trainer.stopping = True
    assert trainer.finished and not trainer.stopped


def test_a_run_that_cannot_start_does_not_keep_its_folder_locked(tmp_path: Path) -> None:
    wanted, out = settings("bandit"), tmp_path / "run"
    trained(wanted, out)
    for checkpoint in (out / "checkpoints").iterdir():
        (checkpoint / "agent.json").unlink()
    with pytest.raises(AgentError) as caught:  # its traceback keeps the trainer and its lock alive
        make_trainer(wanted, out, resume=True)
    assert not file_lock(out / ".lock", process_wide=True).is_locked, caught


def test_a_resumed_run_keeps_its_folder_if_its_first_iteration_fails(tmp_path: Path) -> None:
    wanted, out = settings("bandit", optimizer="imitation"), tmp_path / "run"
    trainer = make_trainer(wanted, out)
    trainer.folder.unlock()
    with pytest.raises(AgentError, match="the expert has no labels"):
        trained(wanted, out, resume=True)
    assert (out / "settings.json").is_file() and (out / "initial").is_dir()


def test_the_next_rollout_starts_with_the_last_action_of_the_previous_one(tmp_path: Path) -> None:
    out = trained(settings("ipd", episodes=4), tmp_path / "run")
    rollouts: dict[int, list[Any]] = {}
    for entry in transcript.read(out / transcript.NAME):
        rollouts.setdefault(entry.iteration, []).append(entry.episode)
    for before, after in zip(list(rollouts.values())[:-1], list(rollouts.values())[1:], strict=True):
        for old, new in zip(before, after, strict=True):
            assert new.steps[0].observation == old.steps[-1].decision.command


# -- what a run writes down --------------------------------------------------------------------------------


def test_metrics_and_transcripts_agree(whole: tuple[TrainConfig, Path]) -> None:
    _, run = whole
    lines, entries = read_metrics(run), list(transcript.read(run / transcript.NAME))
    assert [line["iteration"] for line in lines] == list(range(6))
    assert [entry.episode.index for entry in entries] == list(range(36))
    for line in lines:
        episodes = [entry.episode for entry in entries if entry.iteration == line["iteration"]]
        steps = [step for episode in episodes for step in episode.steps]
        assert line["episodes"] == 6 * (line["iteration"] + 1)
        assert line["reward"] == pytest.approx(np.mean([episode.reward for episode in episodes]))
        assert line["success"] == pytest.approx(np.mean([episode.won for episode in episodes]))
        assert line["steps"] == pytest.approx(len(steps) / 6)
        assert line["value"] == pytest.approx(np.mean([step.decision.value for step in steps]))
        assert line["turn_entropy"] == pytest.approx(np.mean([step.decision.entropy for step in steps]))
        assert line["advantage"] == pytest.approx(np.mean([step.advantage for step in steps]), abs=1e-6)
        for step in steps:
            assert sum(step.decision.probabilities.values()) == pytest.approx(1.0)
            assert step.decision.q_values.keys() == step.decision.probabilities.keys()
    assert lines[-1]["env_steps"] == sum(len(entry.episode.steps) for entry in entries)
    assert (run / "tensorboard").is_dir()


def test_the_newest_checkpoint_plays(whole: tuple[TrainConfig, Path]) -> None:
    _, run = whole
    player = load_agent(run, seed=3)
    assert player.name == "actde" and not player.model.training and not player.record
    assert newest(run).name == "000006"


def test_the_reference_of_a_resumed_run_is_the_first_policy(tmp_path: Path) -> None:
    wanted = settings("bandit")
    first = make_trainer(wanted, tmp_path / "run")
    assert first.updater.reference.copy is not None
    start = {name: tensor.clone() for name, tensor in first.updater.reference.copy.state_dict().items()}
    list(first.run())
    resumed = make_trainer(wanted.replace(iterations=7), tmp_path / "run", resume=True)
    assert resumed.updater.reference.copy is not None
    assert all(torch.equal(tensor, start[name]) for name, tensor in resumed.updater.reference.copy.state_dict().items())
    coefs = [trainer.updater.optimizer.kl.coef for trainer in (first, resumed)]
    assert coefs[0] == coefs[1] != LEARNING["kl_coef"]
    resumed.runner.close()


@pytest.mark.parametrize("rollout_dropout", [False, True])
def test_dropout_in_the_rollout_is_optional(rollout_dropout: bool, tmp_path: Path) -> None:
    wanted = settings("ipd", dropout=0.5, rollout_dropout=rollout_dropout, epochs=1, minibatches=1, iterations=1)
    trainer = make_trainer(wanted, tmp_path / "run")
    trainer.updater.model.train(rollout_dropout)
    list(trainer.runner.play(trainer.agent, 2))
    trainer.updater.model.eval()
    off = []
    for segment in trainer.agent.take_segments():
        with torch.no_grad():
            hidden = trainer.updater.model.hidden_states(torch.from_numpy(segment.tokens)[None], use_cache=False)[0]
            values = trainer.updater.model.heads.values(hidden[[c.position for c in segment.choices]])
        off += [now - c.value for now, c in zip(values.tolist(), segment.choices, strict=True)]
    assert (np.abs(off).max() > 1e-3) == rollout_dropout
    trainer.runner.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "ppo"},
        {"credit": "command"},
        {"mode": "free", "rollout_dropout": False},
        {"torch_optimizer": "sgd"},
        {"q_heads": 2, "head_layers": 2, "detach_q": True, "detach_value": True},
        {"gradient_checkpointing": True, "rollout_dropout": False},
        {"context": 16, "max_turns": 30},
        {"reward_scale": 0.1, "step_cost": 0.5},
        {"minutes": 1e-6},
    ],
)
def test_every_kind_of_run_runs_and_resumes(changes: dict[str, Any], tmp_path: Path) -> None:
    wanted = settings("ipd", **({"iterations": 2, "episodes": 2} | changes))
    out = trained(wanted, tmp_path / "run")
    lines = timeless(out)
    assert len(lines) == (1 if "minutes" in changes else 2)
    assert all(value is not None for line in lines for value in line.values())
    trained(wanted.replace(iterations=3), out, resume=True)
    load_agent(out)


def test_a_game_without_choices_is_an_error(tmp_path: Path) -> None:
    trainer = make_trainer(settings("bandit", iterations=1), tmp_path / "run")
    trainer.agent.record = False
    with pytest.raises(AgentError, match="offers no choice"):
        next(trainer.run())


def test_a_context_is_at_most_the_models_length(tmp_path: Path) -> None:
    trainer = make_trainer(settings("bandit", context=129), tmp_path / "run")
    assert trainer.agent.context == 128


def test_a_removed_folder_ends_the_run(tmp_path: Path) -> None:
    run = make_trainer(settings("bandit", save_every=1), tmp_path / "run").run()
    next(run)
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(PathError) as caught:
        list(run)
    assert caught.value.filename == str(tmp_path / "run")
