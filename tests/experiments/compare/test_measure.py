"""Measures of finished runs: small real runs, from their initial policy to their report."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents.config import TrainConfig
from agents.protocol import Turn
from agents.storage.checkpoint import load_agent, read_tensors
from agents.storage.checkpoint_files import INITIAL, newest
from agents.storage.run_folder import read_metrics
from agents.training import presets
from agents.training.factory import make_trainer
from experiments.compare import measure, report
from experiments.compare.measure import cached_measures, implied_temperature, measure_run
from experiments.compare.sections import collapse_section
from tests.helpers.models import tiny_lm, tokenizer

EPISODES = 12


def settings(game: str, **changes: Any) -> TrainConfig:
    usual: dict[str, Any] = {"game": game, "trunk": "pico", "episodes": 6, "parallel": 6, "iterations": 3, "lr": 0.01}
    if game.startswith("ipd"):
        usual["max_turns"] = 8
    return TrainConfig.from_flat(usual | changes)


def trained(config: TrainConfig, out: Path) -> Path:
    torch.manual_seed(99)  # the result must not depend on earlier random numbers
    list(make_trainer(config, out, resume=out.exists()).run())
    return out


def measured(run: Path, config: TrainConfig) -> dict[str, Any]:
    measures = measure_run(run, config, episodes=EPISODES)
    return json.loads(json.dumps(measures, allow_nan=False))  # type: ignore[no-any-return]


@pytest.fixture(scope="module", params=["bandit", "ipd"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainConfig, Path]:
    config = settings(request.param)
    return config, trained(config, tmp_path_factory.mktemp("run") / "run")


# -- the initial policy -------------------------------------------------------------------------------------


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return read_tensors(folder / "model.safetensors")


def assert_equal(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[name], expected[name]) for name in expected)


def test_the_initial_policy_is_stored_exactly_even_if_a_run_is_interrupted(
    run: tuple[TrainConfig, Path], tmp_path: Path
) -> None:
    config, whole = run
    trainer = make_trainer(config, tmp_path / "run")
    fresh = {name: tensor.clone() for name, tensor in trainer.updater.model.named_parameters()}
    trainer.iterate()
    trainer.runner.close()  # killed before its first checkpoint
    trained(config.replace(iterations=2), tmp_path / "run")
    trained(config, tmp_path / "run")
    for folder in (whole, tmp_path / "run"):
        assert_equal(weights(folder / INITIAL), fresh)
    assert not torch.equal(weights(newest(whole))["lm.lm_head.weight"], fresh["lm.lm_head.weight"])


def test_the_initial_policy_of_an_adapter_is_exactly_the_trunk_without_it(tmp_path: Path) -> None:
    base, words = tmp_path / "base", tokenizer()
    tiny_lm("llama", len(words)).save_pretrained(base)
    words.save_pretrained(base)
    config = settings("bandit?prompt=you see a&arms=red,blue&rewards=1,0", trunk=str(base), lora=2, lr=0.05)
    out = trained(config, tmp_path / "run")
    initial, after = load_agent(out / INITIAL), load_agent(out)
    info = {"admissible_commands": ["blue", "red"]}
    turn = Turn(episode=0, game="b", observation="you see a", info=info, reward=0.0, first=True)
    with after.model.without_adapter():
        (off,) = after.evaluate([turn])
    (first,) = initial.evaluate([turn])
    (on,) = load_agent(out).evaluate([turn])
    assert np.array_equal(first.logprobs, off.logprobs)
    assert not np.array_equal(first.logprobs, on.logprobs)


# -- the measures -------------------------------------------------------------------------------------------


def test_every_measure_of_a_run(run: tuple[TrainConfig, Path]) -> None:
    config, folder = run
    collapse = measured(folder, config)["collapse"]
    ipd = config.run.game == "ipd"
    assert collapse["decisions"] == EPISODES * (8 if ipd else 1)
    assert 0 < collapse["entropy"] <= np.log(2)
    assert collapse["kl_initial"] > 0
    tilted, strategies = collapse["tilted"], collapse["strategies"]
    assert tilted["tau"] is tilted["kl"] is None, "AdamW implies no temperature"
    assert 0 <= tilted["best_kl"] <= collapse["kl_initial"]
    assert 1 <= strategies["counted"]["value"] <= (3 if ipd else 2)
    if ipd:
        assert list(strategies["shares"]) == ["cooperate", "defect", "alternate"]
        assert sum(strategies["shares"].values()) == pytest.approx(1)
        assert collapse["wins"] is collapse["pass_at"] is strategies["policy"] is None
    else:
        assert strategies["policy"] == pytest.approx(np.exp(collapse["entropy"]))
        assert strategies["shares"] is None
        rate = measured(folder, config)["evaluation"]["sampled"]["success_rate"]["value"]
        assert collapse["pass_at"]["mean"]["1"] == pytest.approx(rate)
        assert collapse["wins"] == {"won": round(rate * EPISODES), "different": 1, "effective": 1.0}


def test_measures_are_cached_until_the_agent_or_the_number_of_episodes_changes(
    run: tuple[TrainConfig, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, _ = run
    out = trained(config.replace(iterations=1), tmp_path / "run")
    assert cached_measures(out, episodes=EPISODES) is None
    first = measured(out, config)
    monkeypatch.setattr(measure, "evaluate", None)  # nothing is played again
    assert measured(out, config) == first == cached_measures(out, episodes=EPISODES)
    monkeypatch.undo()
    assert cached_measures(out, episodes=EPISODES + 1) is None
    trained(config, out)
    assert cached_measures(out, episodes=EPISODES) is None
    assert measured(out, config) != first


def test_measures_are_deterministic(run: tuple[TrainConfig, Path]) -> None:
    config, folder = run
    again = [measure._measure(folder, config, episodes=EPISODES) for _ in range(2)]
    assert again[0] == again[1] == measured(folder, config)


def test_ppo_has_a_tilted_policy_only_if_it_trains_q(tmp_path: Path) -> None:
    config = settings("bandit", optimizer="ppo")
    without = measured(trained(config, tmp_path / "plain"), config)["collapse"]
    assert without["tilted"] is None and without["kl_initial"] > 0
    config = config.replace(train_q=True)
    with_q = measured(trained(config, tmp_path / "q"), config)["collapse"]
    assert with_q["tilted"]["best_kl"] <= with_q["kl_initial"]


def test_free_text_has_entropy_and_strategies_but_no_kl(tmp_path: Path) -> None:
    config = settings("bandit", mode="free")
    collapse = measured(trained(config, tmp_path / "run"), config)["collapse"]
    assert collapse["kl_initial"] is collapse["tilted"] is None
    assert collapse["entropy"] > 0 and collapse["strategies"]["counted"]["value"] >= 1


@pytest.mark.parametrize("credit", ["token", "command"])
def test_several_games_with_several_turns(tmp_path: Path, credit: str) -> None:
    config = settings("textworld:coin?level=1&seed=1..2", credit=credit, max_turns=4, iterations=1, trunk="small")
    collapse = measured(trained(config, tmp_path / "run"), config)["collapse"]
    assert collapse["tilted"]["best_kl"] <= collapse["kl_initial"]
    assert len(collapse["pass_at"]["games"]) == 2
    assert list(collapse["pass_at"]["mean"]) == ["1", "2", "4"], "six tries at each game"
    assert collapse["strategies"]["policy"] > 1


def test_detached_q_does_not_change_ppos_policy_unless_gradients_are_clipped(tmp_path: Path) -> None:
    """`--train-q --detach-q` changes v's initial weights, which are made equal here, and the norm of all gradients."""

    def policy(train_q: bool, norm: float, **changes: Any) -> dict[str, torch.Tensor]:
        config = settings("bandit", optimizer="ppo", max_grad_norm=norm, train_q=train_q, **changes)
        out = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        trainer = make_trainer(config, out)
        torch.nn.init.constant_(trainer.updater.model.heads.value.out.weight, 0.01)
        list(trainer.run())
        return {key: value for key, value in weights(newest(out)).items() if not key.startswith("heads.q")}

    def same(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
        return all(torch.equal(actual[name], expected[name]) for name in expected)

    assert same(policy(True, 1e6, detach_q=True), policy(False, 1e6))
    assert not same(policy(True, 1e6), policy(False, 1e6))
    assert not same(policy(True, 1e-3, detach_q=True), policy(False, 1e-3))


@pytest.mark.parametrize(
    ("asked", "tau"),
    [
        ({"torch_optimizer": "sgd", "lr": 0.05, "q_lr": 0.025}, 1.0),
        ({"torch_optimizer": "sgd", "lr": 0.05, "q_lr": 0.1}, 4.0),
        ({"torch_optimizer": "sgd", "lr": 0.05, "q_coef": 0.25}, 0.5),
        ({"lr": 0.05, "q_lr": 0.025}, None),
        ({"torch_optimizer": "sgd", "optimizer": "ppo", "train_q": True}, None),
        ({"torch_optimizer": "sgd", "whitening": "batch"}, None),
        ({"torch_optimizer": "sgd", "q_coef": 0.0}, None),
        ({"torch_optimizer": "sgd", "game": "ipd", "weight_decay": 0.0}, None),
        ({"torch_optimizer": "sgd", "game": "ipd", "weight_decay": 0.0, "gae_lambda": 0.0, "lr": 0.1}, 2.0),
        ({"torch_optimizer": "sgd", "game": "ipd", "gae_lambda": 0.0}, None),
    ],
)
def test_the_temperature_that_step_sizes_imply(asked: dict[str, Any], tau: float | None) -> None:
    assert implied_temperature(presets.resolve({"game": "bandit"} | asked)) == (None if tau is None else tau)


# -- the shares of strategies, along training and in the report --------------------------------------------------


def test_shares_of_strategies_are_metrics_of_training(run: tuple[TrainConfig, Path]) -> None:
    config, folder = run
    for line in read_metrics(folder):
        shares = {name: value for name, value in line.items() if name.startswith("share_")}
        if config.run.game == "ipd":
            assert list(shares) == ["share_cooperate", "share_defect", "share_alternate"]
            assert sum(shares.values()) == pytest.approx(1)
        else:
            assert not shares


def test_a_report_shows_the_measures_over_seeds(run: tuple[TrainConfig, Path], tmp_path: Path) -> None:
    config, folder = run
    measures = measured(folder, config)
    curves = {name: [line[name] for line in read_metrics(folder)] for name in read_metrics(folder)[0]}
    what = {"name": "a", "optimizer": "actde", "seed": 0, "setting": None, "value": None}
    row = {**what, "settings": config.model_dump(), "curves": curves, **measures}
    other = json.loads(json.dumps(row))
    other["seed"], other["collapse"]["entropy"] = 1, row["collapse"]["entropy"] / 2
    report.write(tmp_path, {"command": "c", "game": config.run.game, "episodes": EPISODES}, [row, other])
    assert (tmp_path / "collapse.svg").stat().st_size > 1000
    assert (tmp_path / "kept.svg").exists() == (config.run.game != "ipd")
    text = (tmp_path / "README.md").read_text()
    mean = row["collapse"]["entropy"] * 0.75
    assert f"| actde | 2 | {mean:.3g} (" in text
    assert ("share of alternate" in text) == ("pass@1" not in text) == (config.run.game == "ipd")
    assert "won, sampled" not in text or config.run.game != "ipd"
    plain = collapse_section([row], [], EPISODES)
    assert f"| actde | 1 | {row['collapse']['entropy']:.3g} | " in plain
