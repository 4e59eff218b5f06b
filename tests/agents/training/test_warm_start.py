"""Warm starts: weights, games and KL reference from another run."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actde.errors import ConfigError
from agents.config import TrainConfig
from agents.protocol import AgentError
from agents.storage.checkpoint import load_agent, read_tensors, trained_tensors
from agents.storage.checkpoint_files import AGENT, INITIAL, newest, read_json
from agents.storage.run_folder import read_metrics
from agents.training import factory, presets
from agents.training.bfloat16 import SLOW_BFLOAT16
from agents.training.factory import make_trainer
from agents.training.trainer import Trainer
from agents.training.warm_start import settings_of_checkpoint
from tests.agents.training.test_trainer import assert_same_run
from tests.helpers.models import KINDS, tiny_lm, tokenizer

GAME = "bandit?prompt=you see a&arms=red,blue&rewards=1,0"
Q_AT_0 = "q starts untrained and not at v, so the run may lose what its policy has learned; see --dueling"
STILL = {"gamma": 1.0, "kl_coef": 0.3, "value_coef": 0.0, "q_coef": 0.0}


@pytest.fixture(scope="module", params=[*KINDS, "whole"])
def warm_start(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainConfig, Path]:
    """A short run of PPO to a nearly uniform policy. It trains an adapter on a pretrained trunk, or the whole trunk."""
    place, words = tmp_path_factory.mktemp("warm_start"), tokenizer()
    tiny_lm("llama" if request.param == "whole" else request.param, len(words)).save_pretrained(place / "base")
    words.save_pretrained(place / "base")
    settings = {"game": GAME, "optimizer": "ppo", "gamma": 1.0, "entropy_coef": 3.0, "trunk": str(place / "base")}
    settings |= {"lora": 0 if request.param == "whole" else 2, "episodes": 8, "epochs": 3, "iterations": 4, "lr": 0.02}
    wanted = TrainConfig.from_flat(settings)
    list(make_trainer(wanted, place / "run").run())
    return wanted, place / "run"


def begun(warm_start: tuple[TrainConfig, Path], out: Path, **changes: Any) -> Trainer:
    asked = {"init": str(warm_start[1]), "epochs": 1, "iterations": 2, "entropy_coef": 0.0} | STILL | changes
    return make_trainer(warm_start[0].replace(**asked), out)


def test_it_starts_from_the_weights_and_stores_them_as_the_initial_policy(
    warm_start: tuple[TrainConfig, Path], tmp_path: Path
) -> None:
    trainer = begun(warm_start, tmp_path / "run")
    wanted = read_tensors(newest(warm_start[1]) / "model.safetensors")
    bare = read_tensors(warm_start[1] / INITIAL / "model.safetensors")
    assert any(not torch.equal(wanted[name], bare[name]) for name in wanted)
    for found in (
        trained_tensors(trainer.updater.model),
        read_tensors(tmp_path / "run" / INITIAL / "model.safetensors"),
    ):
        assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)
    trainer.runner.close()


def test_the_kl_to_the_warm_start_is_0_before_the_first_step(
    warm_start: tuple[TrainConfig, Path], tmp_path: Path
) -> None:
    trainer = begun(warm_start, tmp_path / "run", lr=0.1)
    assert trainer.iterate()["kl_ref"] == pytest.approx(0.0, abs=1e-6)
    assert trainer.iterate()["kl_ref"] > 1e-3, "it has moved, and the reference has not"
    trainer.runner.close()
    bare = make_trainer(warm_start[0].replace(epochs=1, entropy_coef=0.0, **STILL), tmp_path / "bare")
    assert bare.iterate()["kl_ref"] == pytest.approx(0.0, abs=1e-6)
    bare.runner.close()


def test_the_reference_shares_the_trunk_below_an_adapter(warm_start: tuple[TrainConfig, Path], tmp_path: Path) -> None:
    trainer = begun(warm_start, tmp_path / "run")
    assert trainer.updater.reference.copy is not None
    ours, theirs = (dict(m.named_parameters()) for m in (trainer.updater.model, trainer.updater.reference.copy))
    for name, parameter in ours.items():
        assert (parameter is theirs[name]) == (not parameter.requires_grad), name
        assert not theirs[name].requires_grad or parameter is theirs[name]
    trainer.runner.close()


def test_a_run_resumes_without_its_initial_checkpoint(warm_start: tuple[TrainConfig, Path], tmp_path: Path) -> None:
    moved = Path(shutil.copytree(warm_start[1], tmp_path / "warm_start"))
    changes: dict[str, Any] = {"init": str(moved), "iterations": 4, "save_every": 2, "lr": 0.02, "dropout": 0.1}
    changes |= {} if warm_start[0].model.lora else {"dropout": 0.0}
    list(begun(warm_start, tmp_path / "whole", **changes).run())
    trainer = begun(warm_start, tmp_path / "parts", **changes)
    for metrics in trainer.run():
        trainer.stopping = metrics["iteration"] == 1
    shutil.rmtree(moved)
    list(make_trainer(trainer.config, tmp_path / "parts", resume=True).run())
    assert_same_run(tmp_path / "parts", tmp_path / "whole")
    assert read_metrics(tmp_path / "whole")[-1]["kl_ref"] > 1e-3


def test_missing_heads_start_untrained_and_additional_ones_are_ignored(
    warm_start: tuple[TrainConfig, Path], tmp_path: Path
) -> None:
    actde = begun(warm_start, tmp_path / "actde", optimizer="actde", target_q=True)
    assert actde.notes == [f"{warm_start[1]} has no Q head: q starts untrained", Q_AT_0]
    list(actde.run())
    again = begun((actde.config, tmp_path / "actde"), tmp_path / "again")
    assert again.notes == [
        f"the run starts with the q of {tmp_path / 'actde'}, and may lose what its policy has learned; see --reset-q"
    ]
    wanted = read_tensors(newest(tmp_path / "actde") / "model.safetensors")
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in trained_tensors(again.updater.model).items())
    plain = begun((actde.config, tmp_path / "actde"), tmp_path / "ppo", optimizer="ppo", target_q=False)
    assert plain.notes == [] and not any(".q." in name for name in trained_tensors(plain.updater.model))
    for trainer in (again, plain):
        trainer.runner.close()


def test_reset_q_leaves_out_q_alone_and_resumes(warm_start: tuple[TrainConfig, Path], tmp_path: Path) -> None:
    actde = begun(warm_start, tmp_path / "actde", optimizer="actde", q_coef=1.0, q_heads=2)
    list(actde.run())
    fresh = begun((actde.config, tmp_path / "actde"), tmp_path / "whole", reset_q=True, dueling=True, q_heads=1)
    assert fresh.notes == []
    before = read_tensors(newest(tmp_path / "actde") / "model.safetensors")
    for name, tensor in trained_tensors(fresh.updater.model).items():
        assert not tensor.any() if name.startswith("heads.q.") else torch.equal(tensor, before[name])
    list(fresh.run())
    short = begun((fresh.config, tmp_path / "actde"), tmp_path / "parts", iterations=1)
    list(short.run())
    list(make_trainer(fresh.config, tmp_path / "parts", resume=True).run())
    assert_same_run(tmp_path / "parts", tmp_path / "whole")
    without_v = begun((actde.config, tmp_path / "actde"), tmp_path / "q alone", reset_q=True)
    assert without_v.notes == [Q_AT_0]
    without_v.runner.close()


def test_q_starts_at_v_if_the_checkpoint_has_no_q(warm_start: tuple[TrainConfig, Path], tmp_path: Path) -> None:
    list(begun(warm_start, tmp_path / "actde", optimizer="actde", iterations=1).run())
    asked = {"game": GAME, "init": str(warm_start[1])}
    assert presets.resolve(asked | {"optimizer": "actde"}).model.dueling
    assert not presets.resolve(asked | {"optimizer": "ppo"}).model.dueling
    assert not presets.resolve(asked | {"optimizer": "actde", "dueling": False}).model.dueling
    has_q = {"game": GAME, "optimizer": "actde", "init": str(tmp_path / "actde")}
    assert not presets.resolve(has_q).model.dueling and presets.resolve(has_q | {"reset_q": True}).model.dueling


def test_actde_adds_no_reward_that_q_knows_and_adds_it_after_reset_q(tmp_path: Path) -> None:
    """The policy moves by a multiple of q - q_0, so it stays where q_0 is right already."""
    usual = {"game": GAME, "optimizer": "actde", "tracker": "none", "episodes": 32, "parallel": 32}
    knowing = presets.resolve(usual | {"trunk": "pico", "lr": 0.0, "q_lr": 0.02, "value_lr": 0.02, "iterations": 40})
    list(make_trainer(knowing, tmp_path / "knowing").run())
    rewards = {}
    for reset in (False, True):
        wanted = usual | {
            "init": str(tmp_path / "knowing"),
            "reset_q": reset,
            "lr": 0.005,
            "q_lr": 0.002,
            "iterations": 20,
        }
        run = list(make_trainer(presets.resolve(wanted), tmp_path / str(reset)).run())
        rewards[reset] = np.mean([metrics["reward"] for metrics in run[-5:]])
    assert rewards[False] == pytest.approx(0.5, abs=0.12) and rewards[True] > 0.8, rewards


def test_an_untrained_model_can_be_a_warm_start(warm_start: tuple[TrainConfig, Path], tmp_path: Path) -> None:
    trainer = begun((warm_start[0], warm_start[1] / INITIAL), tmp_path / "run", value_coef=0.5)
    assert [metrics["iteration"] for metrics in trainer.run()] == [0, 1]
    load_agent(tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"lora": 3}, "this run has lora=3; use the same --lora"),
        ({"head_layers": 2}, "head_layers=1, this run has head_layers=2"),
        ({"trunk": "pico", "lora": 0}, "this run has trunk='pico'"),
        ({"init": "nowhere"}, "nowhere holds no checkpoint"),
    ],
)
def test_another_model_is_refused_in_one_line(
    warm_start: tuple[TrainConfig, Path], tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(AgentError) as caught:
        begun(warm_start, tmp_path / "run", **changes)
    assert says in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_the_data_type_may_change(
    warm_start: tuple[TrainConfig, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings_of_checkpoint(warm_start[1])["dtype"] == "float32"
    monkeypatch.setattr(factory, "cpu_is_fast_in_bfloat16", lambda: False)
    trainer = begun(warm_start, tmp_path / "run", dtype="bfloat16")
    differs = f"{warm_start[1]} was trained in float32, this run computes in bfloat16: the policy differs a little"
    assert trainer.notes == [differs, SLOW_BFLOAT16]
    assert trainer.iterate()["kl_ref"] == pytest.approx(0.0, abs=1e-6)
    trainer.runner.close()


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    wanted = TrainConfig.from_flat({"game": "bandit", "trunk": "pico", "episodes": 4, "iterations": 1})
    list(make_trainer(wanted, tmp_path / "warm_start").run())
    other = wanted.replace(
        game="bandit?prompt=We had a&arms= rain, snow&rewards=1,0", init=str(tmp_path / "warm_start")
    )
    with pytest.raises(AgentError, match="has another vocabulary"):
        make_trainer(other, tmp_path / "run")


def test_the_trunk_is_that_of_the_warm_start_unless_one_is_named(warm_start: tuple[TrainConfig, Path]) -> None:
    config, before = presets.resolve({"init": str(warm_start[1]), "game": GAME, "lr": 0.5}), warm_start[0].model
    assert (config.model.trunk, config.model.lora, config.update.lr) == (before.trunk, before.lora, 0.5)
    assert presets.resolve({"init": str(warm_start[1]), "game": GAME, "trunk": "pico"}).model.trunk == "pico"


def test_a_named_trunk_keeps_the_other_settings_of_the_warm_start(
    warm_start: tuple[TrainConfig, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = settings_of_checkpoint(warm_start[1])
    config = presets.resolve({"init": str(warm_start[1]), "game": GAME, "trunk": stored["trunk"]}).flat()
    assert {name: config[name] for name in stored} == stored
    monkeypatch.setattr(
        presets, "_settings_of_checkpoint", lambda _, **settings: {"lora": 4, "prompt": "chat", "head_layers": 2}
    )
    config = presets.resolve({"init": "run", "trunk": "smollm2", "head_layers": 1}).flat()
    assert (config["lora"], config["prompt"], config["head_layers"]) == (4, "chat", 1)


def test_reset_q_takes_no_settings_of_q_and_needs_a_warm_start(tmp_path: Path) -> None:
    checkpoint = {"trunk": "pico", "q_heads": 2, "head_layers": 2, "iterations": 1, "optimizer": "actde"}
    list(make_trainer(presets.resolve({"game": GAME, **checkpoint}), tmp_path / "run").run())
    usual = {"game": GAME, "optimizer": "actde", "init": str(tmp_path / "run")}
    found = [presets.resolve(usual | {"reset_q": reset}).model for reset in (False, True)]
    assert [(model.q_heads, model.dueling, model.head_layers) for model in found] == [(2, False, 2), (1, True, 2)]
    with pytest.raises(ConfigError, match="--reset-q needs --init"):
        presets.resolve({"game": GAME, "reset_q": True})
    with pytest.raises(
        ConfigError, match="--reset-q needs q: leave it out, or give --train-q, because ppo trains none"
    ):
        make_trainer(presets.resolve(usual | {"reset_q": True, "optimizer": "ppo"}), tmp_path / "ppo")


def test_the_games_of_the_warm_start_count_as_trained_on(warm_start: tuple[TrainConfig, Path], tmp_path: Path) -> None:
    other = "bandit?prompt=you see a&arms=red,blue&rewards=0,1"
    list(begun(warm_start, tmp_path / "run", game=other).run())
    before, first, after = (
        set(read_json(folder / AGENT)["trained_on"])
        for folder in (newest(warm_start[1]), tmp_path / "run" / INITIAL, newest(tmp_path / "run"))
    )
    assert len(before) == 1 and first == before and before < after and len(after) == 2
    assert json.loads((warm_start[1] / INITIAL / AGENT).read_text())["trained_on"] == []


def test_imitation_has_its_own_presets_for_text_adventures(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"game": "textworld:simple?seed=1", "optimizer": "imitation", "trunk": "smollm2"}
    config = presets.resolve(asked)
    assert (config.update.lr, config.rollout.episodes, config.update.epochs, config.rollout.max_turns) == (
        3e-4,
        4,
        1,
        None,
    )
    assert (config.model.lora, config.model.detach_q) == (16, True)
    assert config.optimizer.entropy_coef == 0.0
    assert presets.resolve(asked | {"optimizer": "ppo"}).update.lr == 1e-4
    assert presets.resolve(asked | {"lr": 0.5}).update.lr == 0.5
    small = presets.resolve({"game": asked["game"], "optimizer": "imitation"}).update
    assert (small.lr, small.value_lr) == (1e-3, 1e-2)
    monkeypatch.setattr(presets, "_settings_of_checkpoint", lambda _, **settings: {"trunk": "small"})
    going_on = {"game": asked["game"], "init": "anywhere", "trunk": "small"}
    for optimizer in ("imitation", "rejection"):
        update = presets.resolve(going_on | {"optimizer": optimizer}).update
        assert (update.lr, update.critic_warmup) == (1e-4, 0), "a warm start takes smaller steps"
    config = presets.resolve(going_on | {"optimizer": "ppo"})
    assert config.update.critic_warmup > 0 and config.update.epochs == 1
    assert config.optimizer.entropy_coef == 0.0 and config.optimizer.advantage == "return"
