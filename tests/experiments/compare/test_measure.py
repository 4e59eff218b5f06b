"""What a finished run is measured by: real small runs, from the policy that they began with to their report."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents.config import TrainConfig
from agents.protocol import Turn
from agents.storage.checkpoint import load_agent, newest, read_tensors
from agents.storage.run_folder import INITIAL, read_metrics
from agents.training import presets
from agents.training.factory import make_trainer
from experiments.compare import measure, report
from experiments.compare.collapse_tables import collapse_section
from experiments.compare.measure import implied_temperature, kept, measures
from tests.helpers.models import tiny_lm, tokenizer

EPISODES = 12


def settings(game: str, **changes: Any) -> TrainConfig:
    usual: dict[str, Any] = {"game": game, "trunk": "pico", "episodes": 6, "parallel": 6, "iterations": 3, "lr": 0.01}
    if game.startswith("ipd"):
        usual["max_turns"] = 8
    return TrainConfig.from_flat(usual | changes)


def trained(wanted: TrainConfig, out: Path) -> Path:
    torch.manual_seed(99)  # what came before must not matter
    list(make_trainer(wanted, out, resume=out.exists()).run())
    return out


def measured(run: Path, wanted: TrainConfig) -> dict[str, Any]:
    found = measures(run, wanted, episodes=EPISODES)
    return json.loads(json.dumps(found, allow_nan=False))  # type: ignore[no-any-return]


@pytest.fixture(scope="module", params=["bandit", "ipd"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainConfig, Path]:
    wanted = settings(request.param)
    return wanted, trained(wanted, tmp_path_factory.mktemp("run") / "run")


# -- the first policy ---------------------------------------------------------------------------------------


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return read_tensors(folder / "model.safetensors")


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_first_policy_is_kept_bit_for_bit_however_often_a_run_is_interrupted(
    run: tuple[TrainConfig, Path], tmp_path: Path
) -> None:
    wanted, whole = run
    trainer = make_trainer(wanted, tmp_path / "run")
    fresh = {name: tensor.clone() for name, tensor in trainer.updater.model.named_parameters()}
    trainer.iterate()
    trainer.runner.close()  # killed before its first checkpoint
    trained(wanted.replace(iterations=2), tmp_path / "run")
    trained(wanted, tmp_path / "run")
    for folder in (whole, tmp_path / "run"):
        assert_equal(weights(folder / INITIAL), fresh)
    assert not torch.equal(weights(newest(whole))["lm.lm_head.weight"], fresh["lm.lm_head.weight"])


def test_the_first_policy_of_an_adapter_is_the_trunk_without_it_bit_for_bit(tmp_path: Path) -> None:
    base, words = tmp_path / "base", tokenizer()
    tiny_lm("llama", len(words)).save_pretrained(base)
    words.save_pretrained(base)
    wanted = settings("bandit?prompt=you see a&arms=red,blue&rewards=1,0", trunk=str(base), lora=2, lr=0.05)
    out = trained(wanted, tmp_path / "run")
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
    wanted, folder = run
    found = measured(folder, wanted)["collapse"]
    ipd = wanted.run.game == "ipd"
    assert found["decisions"] == EPISODES * (8 if ipd else 1)
    assert 0 < found["entropy"] <= np.log(2)
    assert found["kl_initial"] > 0
    tilted, strategies = found["tilted"], found["strategies"]
    assert tilted["tau"] is tilted["kl"] is None, "AdamW implies no temperature"
    assert 0 <= tilted["best_kl"] <= found["kl_initial"]
    assert 1 <= strategies["counted"]["value"] <= (3 if ipd else 2)
    if ipd:
        assert list(strategies["shares"]) == ["cooperate", "defect", "alternate"]
        assert sum(strategies["shares"].values()) == pytest.approx(1)
        assert found["wins"] is found["pass_at"] is strategies["policy"] is None
    else:
        assert strategies["policy"] == pytest.approx(np.exp(found["entropy"]))
        assert strategies["shares"] is None
        rate = measured(folder, wanted)["evaluation"]["sampled"]["success_rate"]["value"]
        assert found["pass_at"]["mean"]["1"] == pytest.approx(rate)
        assert found["wins"] == {"won": round(rate * EPISODES), "different": 1, "effective": 1.0}


def test_measures_are_kept_until_agent_or_number_of_episodes_change(
    run: tuple[TrainConfig, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, _ = run
    out = trained(wanted.replace(iterations=1), tmp_path / "run")
    assert kept(out, episodes=EPISODES) is None
    first = measured(out, wanted)
    monkeypatch.setattr(measure, "evaluate", None)  # nothing is played again
    assert measured(out, wanted) == first == kept(out, episodes=EPISODES)
    monkeypatch.undo()
    assert kept(out, episodes=EPISODES + 1) is None
    trained(wanted, out)
    assert kept(out, episodes=EPISODES) is None
    assert measured(out, wanted) != first


def test_one_seed_gives_the_same_measures_again(run: tuple[TrainConfig, Path]) -> None:
    wanted, folder = run
    again = [measure._measure(folder, wanted, episodes=EPISODES) for _ in range(2)]
    assert again[0] == again[1] == measured(folder, wanted)


def test_ppo_has_no_q_to_compare_with_unless_it_is_trained(tmp_path: Path) -> None:
    wanted = settings("bandit", optimizer="ppo")
    without = measured(trained(wanted, tmp_path / "plain"), wanted)["collapse"]
    assert without["tilted"] is None and without["kl_initial"] > 0
    wanted = wanted.replace(train_q=True)
    with_q = measured(trained(wanted, tmp_path / "q"), wanted)["collapse"]
    assert with_q["tilted"]["best_kl"] <= with_q["kl_initial"]


def test_free_text_has_entropy_and_strategies_but_no_distribution_over_commands(tmp_path: Path) -> None:
    wanted = settings("bandit", mode="free")
    found = measured(trained(wanted, tmp_path / "run"), wanted)["collapse"]
    assert found["kl_initial"] is found["tilted"] is None
    assert found["entropy"] > 0 and found["strategies"]["counted"]["value"] >= 1


@pytest.mark.parametrize("credit", ["token", "command"])
def test_several_games_with_several_turns(tmp_path: Path, credit: str) -> None:
    wanted = settings("textworld:coin?level=1&seed=1..2", credit=credit, max_turns=4, iterations=1, trunk="small")
    found = measured(trained(wanted, tmp_path / "run"), wanted)["collapse"]
    assert found["tilted"]["best_kl"] <= found["kl_initial"]
    assert len(found["pass_at"]["games"]) == 2
    assert list(found["pass_at"]["mean"]) == ["1", "2", "4"], "six tries at each game"
    assert found["strategies"]["policy"] > 1


def test_detached_q_leaves_ppos_policy_alone_as_long_as_gradients_are_not_clipped(tmp_path: Path) -> None:
    """What `--train-q --detach-q` does to PPO: another draw of v's first weights, made equal here, and nothing else,
    but for the norm to which all gradients are clipped."""

    def policy(train_q: bool, norm: float, **changes: Any) -> dict[str, torch.Tensor]:
        wanted = settings("bandit", optimizer="ppo", max_grad_norm=norm, train_q=train_q, **changes)
        out = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        trainer = make_trainer(wanted, out)
        torch.nn.init.constant_(trainer.updater.model.heads.value.out.weight, 0.01)
        list(trainer.run())
        return {key: value for key, value in weights(newest(out)).items() if not key.startswith("heads.q")}

    def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
        return all(torch.equal(found[name], expected[name]) for name in expected)

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
    wanted, folder = run
    for line in read_metrics(folder):
        shares = {name: value for name, value in line.items() if name.startswith("share_")}
        if wanted.run.game == "ipd":
            assert list(shares) == ["share_cooperate", "share_defect", "share_alternate"]
            assert sum(shares.values()) == pytest.approx(1)
        else:
            assert not shares


def test_a_report_says_of_each_seed_what_was_measured(run: tuple[TrainConfig, Path], tmp_path: Path) -> None:
    wanted, folder = run
    found = measured(folder, wanted)
    curves = {name: [line[name] for line in read_metrics(folder)] for name in read_metrics(folder)[0]}
    what = {"name": "a", "optimizer": "actde", "seed": 0, "setting": None, "value": None}
    row = {**what, "settings": wanted.model_dump(), "curves": curves, **found}
    other = json.loads(json.dumps(row))
    other["seed"], other["collapse"]["entropy"] = 1, row["collapse"]["entropy"] / 2
    report.write(tmp_path, {"command": "c", "game": wanted.run.game, "episodes": EPISODES}, [row, other])
    assert (tmp_path / "collapse.svg").stat().st_size > 1000
    assert (tmp_path / "kept.svg").exists() == (wanted.run.game != "ipd")
    text = (tmp_path / "README.md").read_text()
    mean = row["collapse"]["entropy"] * 0.75
    assert f"| actde | 2 | {mean:.3g} (" in text
    assert ("share of alternate" in text) == ("pass@1" not in text) == (wanted.run.game == "ipd")
    assert "won, sampled" not in text or wanted.run.game != "ipd"
    plain = "\n".join(collapse_section([row], None, EPISODES))
    assert f"| actde | 1 | {row['collapse']['entropy']:.3g} | " in plain
