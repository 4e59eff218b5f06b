"""Configurations refuse unknown names and bad values in one line, and survive JSON."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from actde import OptimizerConfig, OptimizerError
from actde.config import choices, describe_values, format_value, is_optional, value_type
from actde.errors import ConfigError

BAD = [
    ("gamma", 1.5, r"gamma must be a number from 0 to 1, got 1.5"),
    ("gamma", float("nan"), "got nan"),
    ("gamma", True, "got True"),
    ("gamma", None, "got none"),
    ("gamma", "0.9", "got '0.9'"),
    ("gae_lambda", -0.1, r"gae_lambda must be a number from 0 to 1"),
    ("clip_range", 0, r"clip_range must be a number above 0"),
    ("value_clip_range", 0.0, r"value_clip_range must be a number above 0 or none"),
    ("value_coef", -1, r"value_coef must be a number of at least 0"),
    ("q_coef", float("inf"), "q_coef"),
    ("q_coef", 10**400, "q_coef"),
    ("entropy_coef", -0.01, "entropy_coef"),
    ("expectile", 1.0, r"expectile must be a number above 0 and below 1"),
    ("expectile", 0.0, "expectile"),
    ("kl_coef", -0.1, "kl_coef"),
    ("kl_target", 0.0, "kl_target"),
    ("kl_target", 0.1, "--kl-target needs a --kl-coef above 0"),
    ("train_q", 1, "train_q must be true or false, got 1"),
    ("whitening", "bach", "unknown whitening 'bach', expected one of batch, none; did you mean 'batch'?"),
    ("advantage", "returns", "did you mean 'return'"),
    ("value_loss", "iql", "did you mean 'ilql'"),
    ("kl_place", ["loss"], "unknown kl_place"),
]


@pytest.mark.parametrize(("name", "value", "message"), BAD)
def test_an_error_names_the_expected_and_the_actual_value(name: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        OptimizerConfig(**{name: value})
    assert isinstance(caught.value, OptimizerError) and "\n" not in str(caught.value)
    assert caught.value.setting == (None if "needs" in message else name)


def test_an_unknown_setting_gets_a_suggestion() -> None:
    values: dict[str, Any] = {"clip_rang": 0.2}
    with pytest.raises(ConfigError, match=r"unknown setting 'clip_rang'; did you mean 'clip_range'"):
        OptimizerConfig(**values)


def test_an_unknown_setting_that_resembles_none_lists_all() -> None:
    values: dict[str, Any] = {"zzzzqqqq": 0.2}
    with pytest.raises(ConfigError, match=r"unknown setting 'zzzzqqqq', expected one of advantage, .*whitening$"):
        OptimizerConfig(**values)


def test_a_configuration_survives_strict_json() -> None:
    config = OptimizerConfig(gamma=0.5, value_clip_range=None, value_loss="ilql", kl_coef=1, kl_target=2, train_q=True)
    text = config.model_dump_json()
    assert json.loads(text) == config.model_dump()
    assert OptimizerConfig(**json.loads(text)) == config
    assert json.loads(text)["value_clip_range"] is None
    assert isinstance(OptimizerConfig(gamma=1).gamma, float)


@pytest.mark.parametrize("text", ['{"gamma": NaN}', '{"kl_coef": Infinity}', '{"gamma": "0.9"}', '{"train_q": 1}'])
def test_json_of_another_type_or_not_finite_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        OptimizerConfig(**json.loads(text))


def test_a_configuration_is_immutable_and_replace_checks_its_changes() -> None:
    config = OptimizerConfig(gamma=0.5)
    assert config.replace(q_coef=2.0) == OptimizerConfig(gamma=0.5, q_coef=2.0)
    assert config == OptimizerConfig(gamma=0.5) and hash(config) == hash(OptimizerConfig(gamma=0.5))
    with pytest.raises(ConfigError, match=r"gamma must be a number from 0 to 1, got 2"):
        config.replace(gamma=2)
    with pytest.raises(ConfigError, match="unknown setting 'gama'"):
        config.replace(gama=0.5)
    with pytest.raises(ValidationError, match="frozen"):
        config.gamma = 0.7


def test_every_field_has_a_help_text() -> None:
    assert all(field.description for field in OptimizerConfig.model_fields.values())


@pytest.mark.parametrize(
    ("name", "kind", "optional", "words", "accepts"),
    [
        ("gamma", float, False, (), "a number from 0 to 1"),
        ("expectile", float, False, (), "a number above 0 and below 1"),
        ("kl_target", float, True, (), "a number above 0 or none"),
        ("train_q", bool, False, (), "true or false"),
        ("advantage", str, False, ("lambda", "return"), "text"),
    ],
)
def test_a_field_describes_its_values(
    name: str, kind: type, optional: bool, words: tuple[str, ...], accepts: str
) -> None:
    field = OptimizerConfig.model_fields[name]
    assert (value_type(field), is_optional(field), choices(field), describe_values(field)) == (
        kind,
        optional,
        words,
        accepts,
    )


@pytest.mark.parametrize(
    ("value", "text"), [(None, "none"), (True, "true"), (False, "false"), (1, "1"), (0.5, "0.5"), ("a", "'a'")]
)
def test_values_are_shown_as_they_are_written(value: object, text: str) -> None:
    assert format_value(value) == text
