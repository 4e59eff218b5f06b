"""The configuration of a run: groups, flat names, words from outside, and errors of one line."""

import json
import subprocess
import sys
from typing import Any

import pytest

from actde.config import Config, describe_values, value_type
from actde.errors import ConfigError
from agents.config import FIELDS, GROUP_OF, GROUPS, TrainConfig, flatten, parse

OTHER: dict[str, Any] = {
    "game": "bandit",
    "init": "runs/é",
    "lora": 4,
    "max_turns": 7,
    "mode": "free",
    "step_cost": -0.5,
    "bonus": 1.0,
    "bonus_command": "look",
    "expert": "policy",
    "value_lr": 0.0,
    "gamma": 1.0,
    "value_clip_range": None,
    "kl_coef": 0.1,
    "kl_target": 1e-7,
    "minutes": 2.5,
    "probe_prompts": "heldout",
    "judge": "length",
    "eval_every": 3,
}
"""Values that are not the defaults, in every group."""


def test_names_are_unique_over_all_groups() -> None:
    assert sum(len(group.model_fields) for group in GROUPS.values()) == len(GROUP_OF) == len(FIELDS) == 104
    names = {"run", "model", "rollout", "reward", "imitation", "update", "optimizer", "budget", "probe", "evaluation"}
    assert set(GROUPS) == names
    assert {GROUP_OF[name] for name in OTHER} == set(GROUPS)


def test_every_setting_has_a_help_text_and_a_default_that_is_legal() -> None:
    assert all(field.description and field.description.endswith(".") for field in FIELDS.values())
    defaults = {name: field.default for name, field in FIELDS.items()}
    assert TrainConfig.from_flat(defaults) == TrainConfig() and TrainConfig().flat() == defaults


def test_flat_names_and_groups_say_the_same() -> None:
    config = TrainConfig.from_flat(OTHER)
    assert config.flat() == TrainConfig().flat() | OTHER
    assert (config.run.game, config.update.value_lr, config.optimizer.kl_target) == ("bandit", 0.0, 1e-7)
    assert flatten(config.model_dump()) == config.flat()
    assert config.replace(gamma=0.5).flat() == config.flat() | {"gamma": 0.5}
    groups: dict[str, Any] = {group: dict(getattr(config, group)) for group in GROUPS}
    assert TrainConfig(**groups) == config


def test_a_configuration_survives_json() -> None:
    config = TrainConfig.from_flat(OTHER)
    text = config.model_dump_json()
    assert json.loads(text) == config.model_dump() and list(json.loads(text)) == list(GROUPS)
    assert TrainConfig(**json.loads(text)) == config
    assert TrainConfig.from_flat(flatten(json.loads(text))) == config


@pytest.mark.parametrize("make", [TrainConfig.from_flat, lambda changes: TrainConfig().replace(**changes)])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lrr": 0.1}, "unknown setting 'lrr'; did you mean 'lr'"),
        ({"lr": -0.1}, r"lr must be a number of at least 0, got -0.1"),
        ({"lr": "0.1"}, r"lr must be a number of at least 0, got '0.1'"),
        ({"lr": None}, "lr must be a number .*, got none"),
        ({"seed": -1}, r"seed must be a whole number from 0 to 9,.*, got -1"),
        ({"seed": 1.0}, "seed must be a whole number .*, got 1.0"),
        ({"seed": True}, "seed must be a whole number .*, got True"),
        ({"episodes": 0}, r"episodes must be a whole number from 1 to 1,000,000, got 0"),
        ({"q_heads": 3}, r"q_heads must be a whole number from 0 to 2, got 3"),
        ({"context": 15}, r"context must be a whole number of at least 16 or none, got 15"),
        ({"max_turns": 0}, r"max_turns must be a whole number from 1 to 1,000,000 or none, got 0"),
        ({"dropout": 1.0}, r"dropout must be a number of at least 0 and below 1, got 1.0"),
        ({"top_fraction": 0.0}, r"top_fraction must be a number above 0 and at most 1, got 0.0"),
        ({"minutes": float("inf")}, r"minutes must be a number above 0 or none, got inf"),
        ({"win_bonus": float("nan")}, "win_bonus must be a number, got nan"),
        ({"target_q": "yes"}, "target_q must be true or false, got 'yes'"),
        ({"game": 1}, "game must be text, got 1"),
        ({"mode": "fre"}, "unknown mode 'fre', expected one of free, trie; did you mean 'free'"),
        ({"prompt": "plane"}, "unknown prompt 'plane', expected one of chat, plain; did you mean 'plain'"),
        ({"dtype": 16}, "unknown dtype 16, expected one of bfloat16, float32"),
        ({"bonus": 1.0, "bonus_command": " "}, "--bonus 1 needs --bonus-command"),
        ({"kl_target": 0.1}, "--kl-target needs a --kl-coef above 0"),
        ({"rollout_dropout": True, "gradient_checkpointing": True}, "cannot be combined"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_was_expected_and_what_came(
    make: Any, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make(values)
    assert "\n" not in str(caught.value) and "pydantic" not in str(caught.value)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"trian": {}}, r"unknown group 'trian', expected one of budget, .*did you mean 'run'"),
        ({"update": 1}, "update must be a table of settings, got 1"),
        ({"update": {"lrr": 1}}, "unknown setting of update 'lrr', .*did you mean 'lr'"),
        ({"run": {"lr": 1}}, r"the setting lr is in the wrong place; it belongs in \[update\]"),
        ({"lr": 1}, r"the setting lr is in the wrong place; it belongs in \[update\]"),
    ],
)
def test_a_setting_in_the_wrong_place_is_refused(groups: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        flatten(groups)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"update": {"lr": -1}}, r"lr must be a number of at least 0, got -1"),
        ({"update": {"lrr": 1}}, r"unknown setting 'lrr', .*did you mean 'lr'"),
        ({"update": 3}, "update must be a table of settings, got 3"),
        ({"updates": {}}, r"unknown setting 'updates', .*did you mean 'update'"),
    ],
)
def test_groups_are_checked_by_the_python_call_too(groups: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**groups)


@pytest.mark.parametrize(
    ("name", "word", "value"),
    [
        ("lr", "1e-3", 0.001),
        ("lr", "1", 1),
        ("lr", "fast", "fast"),
        ("seed", "3", 3),
        ("seed", "3.5", 3.5),
        ("kl_target", "none", None),
        ("lr", "none", None),
        ("whitening", "none", "none"),
        ("game", "none", "none"),
        ("trunk", "7", "7"),
        ("detach_q", "true", True),
        ("detach_q", "false", False),
        ("detach_q", "yes", "yes"),
    ],
)
def test_a_word_is_converted_to_its_value(name: str, word: str, value: Any) -> None:
    found = parse(name, word)
    assert (found, type(found)) == (value, type(value))


def test_words_of_an_unknown_setting_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'reward_scale'"):
        parse("reward_scal", "1")


def test_every_field_can_be_described() -> None:
    for name, field in FIELDS.items():
        assert value_type(field) in (bool, int, float, str), name
        assert describe_values(field), name
    assert all(issubclass(group, Config) for group in GROUPS.values())


def test_the_configuration_needs_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, agents.config; agents.config.TrainConfig(); "
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("word", "near"),
    [("kl", "kl_coef"), ("clip", "clip_range"), ("norm", "max_grad_norm"), ("lrr", "lr"), ("xyz", "")],
)
def test_names_with_the_given_word_are_suggested(word: str, near: str) -> None:
    with pytest.raises(ConfigError) as error:
        TrainConfig.from_flat({word: 1})
    assert str(error.value).partition("; did you mean ")[2] == (near and f"{near!r}?")
