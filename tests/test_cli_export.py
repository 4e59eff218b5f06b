"""The command `export`."""

import json
import re
from pathlib import Path

import pytest

from agents.registry import NAMES, SHIPPED, TRAINED
from agents.training import presets
from agents.training.factory import make_trainer
from tests.conftest import Command
from tests.helpers.folders import file_names

FILES = [
    *("README.md", "config.json", "generation_config.json", "heads.json", "heads.safetensors", "model.safetensors"),
    *("tokenizer.json", "tokenizer_config.json"),
]


def test_a_run_is_exported(command: Command, tmp_path: Path) -> None:
    config = presets.resolve({"game": "bandit", "optimizer": "actde", "iterations": 1, "episodes": 4, "seed": 5})
    list(make_trainer(config, tmp_path / "run").run())
    status, out, errors = command("export", str(tmp_path / "run"), "--to", str(tmp_path / "new" / "model"))
    assert (status, errors) == (0, "")
    assert out.startswith(f"the model of {tmp_path}/run is in {tmp_path}/new/model; transformers loads it: ")
    assert file_names(tmp_path / "new") == ["model"] and file_names(tmp_path / "new" / "model") == FILES
    assert len({path.stat().st_mode for path in (tmp_path / "new" / "model").iterdir()}) == 1
    card = (tmp_path / "new" / "model" / "README.md").read_text()
    assert "The optimizer `actde` trained the whole model, from random weights." in card
    assert "Game: `bandit`. Seed: 5." in card and "Iterations: 1. Commands: 4." in card


def test_a_shipped_agent_is_exported(command: Command, tmp_path: Path) -> None:
    status, out, errors = command("export", "actde-small", "--to", str(tmp_path / "model"), "--json")
    assert (status, errors) == (0, "")
    document = json.loads(out)
    assert document["checkpoint"] == str(SHIPPED / "actde-small") and document["base"] is None
    assert document["heads"] == json.loads((tmp_path / "model" / "heads.json").read_text())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("actde-small", "--to", "."), "already exists; choose another --to"),
        (("actde-small", "--to", "new", "--adapter"), "has no adapter, .*; leave out --adapter"),
        (
            ("nobody", "--to", "new"),
            "unknown agent 'nobody': expected actde, ppo, actde-small, ppo-small or the folder",
        ),
        ((".", "--to", "new"), "holds no checkpoint"),
        (("actde-small",), "Missing option '--to'"),
        *(((name, "--to", "new"), f"{name} has no trained weights") for name in NAMES if name not in TRAINED),
    ],
)
def test_mistakes_are_one_line(
    command: Command, words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, errors = command("export", *words)
    assert (status, out, errors.count("\n")) == (2, "", 1)
    assert re.search(message, errors)
    assert file_names(tmp_path) == []


def test_an_adapter_without_its_base_model_says_what_is_missing(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.model.pretrained.PACKAGE", "no-such-package")
    status, _, errors = command("export", "actde", "--to", str(tmp_path / "new"))
    assert (status, errors.count("\n")) == (2, 1)
    assert "actde is an adapter of the model 'smollm2': smollm2 needs the package no-such-package" in errors
    assert file_names(tmp_path) == []
