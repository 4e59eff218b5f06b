"""Layers of a run's configuration: which value wins, where it comes from, and files of settings."""

from pathlib import Path
from typing import Any

import pytest
import torch

from actde.errors import ConfigError
from agents.config import FIELDS, TrainConfig
from agents.training import presets
from agents.training.bfloat16 import is_fast_in_bfloat16
from agents.training.presets import GIVEN, Layer, from_layers, merged, origins, read_toml, resolve, with_presets


def test_a_later_layer_overrides_an_earlier_one() -> None:
    found = with_presets([Layer("a.toml", {"lr": 0.5, "gamma": 0.5}), Layer(GIVEN, {"lr": 0.1})])
    effective = [layer.origin for layer in found if layer.values]
    assert effective == ["default", "preset of text adventures", "a.toml", GIVEN]
    config, of = from_layers(found), origins(found)
    assert config == TrainConfig.from_flat(merged(found))
    wanted = {
        "lr": (0.1, GIVEN),
        "gamma": (0.5, "a.toml"),
        "epochs": (2, "preset of text adventures"),
        "seed": (0, "default"),
    }
    assert {name: (config.flat()[name], of[name]) for name in wanted} == wanted
    assert set(of) == set(FIELDS)


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({}, {"trunk": "small", "lr": 7e-4, "gamma": 0.9, "critic_warmup": 0}),
        ({"game": "bandit"}, {"trunk": "pico", "lr": 1e-3, "gamma": 1.0, "episodes": 64}),
        ({"game": "ipd?payoff=post"}, {"trunk": "pico", "gamma": 0.5, "rollout_dropout": True}),
        ({"game": "bandit + bandit?rewards=0,0"}, {"trunk": "pico", "gamma": 1.0}),
        ({"trunk": "smollm2"}, {"lora": 16, "lr": 1e-4, "gamma": 0.9}),
        ({"optimizer": "imitation"}, {"epochs": 1, "max_turns": None, "detach_q": True, "lr": 1e-3}),
        ({"optimizer": "imitation", "trunk": "smollm2"}, {"lr": 3e-4, "episodes": 4, "lora": 16}),
        ({"optimizer": "imitation", "game": "bandit"}, {"epochs": 4, "detach_q": False, "lr": 1e-3}),
        ({"optimizer": "grpo", "game": "bandit"}, {"group_size": 8, "episodes": 64, "entropy_coef": 0.0}),
        ({"optimizer": "rejection", "group_size": 2}, {"group_size": 2, "entropy_coef": 0.0}),
    ],
)
def test_presets_follow_from_game_trunk_and_optimizer(asked: dict[str, Any], wanted: dict[str, Any]) -> None:
    found = resolve(asked).flat()
    assert {name: found[name] for name in wanted} == wanted


@pytest.mark.parametrize(("fast", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_smollm2_computes_in_bfloat16_where_that_is_fast(
    monkeypatch: pytest.MonkeyPatch, fast: bool, dtype: str
) -> None:
    monkeypatch.setattr(presets, "is_fast_in_bfloat16", lambda: fast)
    assert resolve({"trunk": "smollm2"}).model.dtype == dtype
    assert resolve({"trunk": "smollm2", "dtype": "bfloat16"}).model.dtype == "bfloat16"
    assert resolve({"trunk": "small"}).model.dtype == "float32"


@pytest.mark.parametrize(
    ("capability", "accelerator", "fast"), [("AVX512", False, True), ("AVX2", False, False), ("AVX2", True, True)]
)
def test_bfloat16_is_fast_with_avx_512_or_an_accelerator(
    monkeypatch: pytest.MonkeyPatch, capability: str, accelerator: bool, fast: bool
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: accelerator)
    assert is_fast_in_bfloat16() == fast


def test_presets_name_settings_and_give_legal_values() -> None:
    tables = (
        presets.GAMES,
        presets.TRUNKS,
        presets.OPTIMIZERS,
        presets.OPTIMIZERS_ANY_GAME,
        presets.IMITATION,
        presets.WARM_START,
    )
    for values in (
        *(values for table in tables for values in table.values()),
        presets.WARM_IMITATION,
        presets.UNTRAINED_Q,
    ):
        TrainConfig.from_flat(values)


def test_a_toml_file_gives_what_python_gives(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        '[run]\ngame = "bandit"\n[rollout]\nmax_turns = "none"\nepisodes = 3\n'
        '[update]\nlr = 1\nvalue_lr = "none"\n[optimizer]\nwhitening = "none"\ntrain_q = true\n'
    )
    layer = read_toml(path)
    wanted = {"game": "bandit", "max_turns": None, "episodes": 3, "lr": 1, "value_lr": None}
    assert layer == Layer(str(path), wanted | {"whitening": "none", "train_q": True})
    assert from_layers(with_presets([layer])) == resolve(layer.values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[update]\nlr = ", "run.toml: Invalid value"),
        ("[run]\ninit = none", r'Invalid value \(at line 2, column 8\); texts need quotes, as in "none"$'),
        (" \n", "run.toml: expected at least one setting, such as .*, got none"),
        ("[updates]\nlr = 1", r"run.toml: unknown group 'updates', .*did you mean 'update'"),
        ("[update]\nlrr = 1", r"run.toml: unknown setting of update 'lrr', .*did you mean 'lr'"),
        ("[model]\nlr = 1", r"run.toml: the setting lr is in the wrong place; it belongs in \[update\]"),
        ("lr = 1", r"run.toml: the setting lr is in the wrong place; it belongs in \[update\]"),
        ("update = 1", "run.toml: update must be a table of settings, got 1"),
        ("[update]\nlr = -1", r"run.toml: lr must be a number of at least 0, got -1"),
        ('[update]\nlr = "none"', r"run.toml: lr must be a number of at least 0, got none"),
        ("[update]\nepochs = 1.5", r"run.toml: epochs must be a whole number from 1 to 1,000,000, got 1.5"),
        ("[rollout]\nmode = false", "run.toml: unknown mode False, expected one of free, trie"),
        ("[optimizer]\ntrain_q = 1", "run.toml: train_q must be true or false, got 1"),
        ("[optimizer]\ngamma = nan", r"run.toml: gamma must be a number from 0 to 1, got nan"),
        ("[optimizer]\ngamma = [1]", r"run.toml: gamma must be a number from 0 to 1, got \[1\]"),
    ],
)
def test_a_mistake_in_a_toml_file_is_one_line_with_its_name(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        from_layers(with_presets([read_toml(path)]))
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_mistake_in_an_option_does_not_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("[update]\nlr = 1")
    with pytest.raises(ConfigError, match=r"^--lr must be a number of at least 0, got -1$"):
        from_layers(with_presets([read_toml(path), Layer(GIVEN, {"lr": -1})]))


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b'[run]\ngame = "\xe9"')
    for name, message in (("none.toml", "is missing"), ("", "no regular file"), ("latin.toml", "UTF-8")):
        with pytest.raises(ConfigError, match=message) as caught:
            read_toml(tmp_path / name)
        assert "\n" not in str(caught.value)
