"""A GPU gives the numbers of the CPU up to rounding; skipped without a GPU."""

from pathlib import Path

import pytest
import torch

import games
from agents.config import TrainConfig
from agents.model.tree_decoder import GPU_PASS_OVERHEAD, PASS_OVERHEAD, pass_overhead
from agents.play.runner import EpisodeRunner
from agents.storage.checkpoint import load_agent
from agents.storage.run_folder import read_metrics
from agents.training.factory import make_trainer

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")


def settings() -> TrainConfig:
    values = {"game": "ipd", "optimizer": "actde", "trunk": "small", "max_turns": 8, "epochs": 1, "iterations": 2}
    return TrainConfig.from_flat(values | {"save_every": 1, "gamma": 0.9, "kl_coef": 0.1})


def test_a_pass_of_a_gpu_is_shared_by_rows_of_any_length() -> None:
    assert pass_overhead(torch.device("cpu")) == PASS_OVERHEAD
    assert pass_overhead(torch.device("cuda")) == GPU_PASS_OVERHEAD > 100 * PASS_OVERHEAD


@needs_gpu
def test_the_update_computes_the_outputs_of_the_rollout(tmp_path: Path) -> None:
    trainer = make_trainer(settings(), tmp_path / "run")
    assert trainer.updater.model.device.type == "cuda"
    list(trainer.run())
    for line in read_metrics(tmp_path / "run"):  # one gradient step an iteration: its ratios are all 1
        assert abs(line["approx_kl"]) < 1e-6
        assert line["kl_ref"] >= 0


@needs_gpu
def test_a_run_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    list(make_trainer(settings(), tmp_path / "run").run())
    list(make_trainer(settings().replace(iterations=3), tmp_path / "run", resume=True).run())
    assert [line["iteration"] for line in read_metrics(tmp_path / "run")] == [0, 1, 2]


@needs_gpu
def test_an_agent_has_the_same_outputs_on_both_devices(tmp_path: Path) -> None:
    list(make_trainer(settings(), tmp_path / "run").run())
    found = {}
    for device in ("cpu", "cuda"):
        agent = load_agent(tmp_path / "run")
        agent.model.to(device)
        with EpisodeRunner(games.resolve("ipd"), seed=5, parallel=3, max_turns=6) as runner:
            episodes = sorted(runner.play(agent, 3), key=lambda episode: episode.index)
        found[device] = [step.decision for episode in episodes for step in episode.steps]
    for ours, theirs in zip(found["cuda"], found["cpu"], strict=True):
        assert ours.probabilities == pytest.approx(theirs.probabilities, abs=1e-4)
        assert ours.q_values == pytest.approx(theirs.q_values, abs=1e-4)
        assert ours.value == pytest.approx(theirs.value, abs=1e-4)
