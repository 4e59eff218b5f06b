"""A mistake in a user's optimizer ends in one line with class, file and line; a bug of this project stays as it is."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from actde import PPO, Batch, OptimizerError, registry
from agents.config import TrainConfig
from agents.imports import optimizer_name
from agents.training.factory import make_trainer
from agents.training.trainer import Trainer
from games.errors import GameError
from tests.conftest import Command

TINY = {"game": "bandit", "trunk": "pico", "episodes": 4, "epochs": 1, "iterations": 1}
HEAD = "import torch\nfrom actde import PPO\n\nclass Mine(PPO):\n    name = 'mine'\n"


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})


def trainer(folder: Path, body: str) -> Trainer:
    """Return a trainer whose optimizer is the class Mine of a file, with these lines in its body."""
    (file := folder / "mine.py").write_text(HEAD + "".join(f"    {line}\n" for line in body.splitlines()))
    return make_trainer(TrainConfig.from_flat({**TINY, "optimizer": optimizer_name(f"{file}:Mine")}), folder / "run")


BASELINE = "def baseline(self, batch):\n    "
LOSS = "def policy_loss(self, batch, targets, outputs):\n    "
MISTAKES = {
    "typo": (BASELINE + "return batch.nothing", "AttributeError: .*'nothing' (mine.py, line 7); Batch has rewards, "),
    "q": (BASELINE + "return batch.values + batch.q_values", "line 7); q_values is None: set needs_q = True in class "),
    "None": (BASELINE + "pass", "expected baseline to return a float tensor of shape [4, 1] on cpu, got None (mine.py"),
    "q alone": (BASELINE + "return batch.q_values", "got None (mine.py, line 6); .* set needs_q = True in class Mine"),
    "shape": (BASELINE + "return batch.values[:1]", "of shape [4, 1] on cpu, got torch.float32 of shape [1, 1]"),
    "bool": (BASELINE + "return batch.mask", "got torch.bool of shape [4, 1]"),
    "NaN": (BASELINE + "return batch.values / 0 * 0", "expected finite numbers from baseline, got nan at segment 0, "),
    "in torch": (BASELINE + "return torch.stack([])", "expected a result of baseline, got .* (mine.py, line 7)"),
    "exit": (BASELINE + "exit()", "expected a result of baseline, got SystemExit (mine.py, line 7)"),
    "loss": (LOSS + "return None", "expected policy_loss to return a float tensor"),
    "expected q": (LOSS + "return -outputs.expected_q", "set needs_expected_q = True in class Mine (mine.py)"),
    "kl": (LOSS + "return outputs.kl * 1", "kl is None: set needs_kl = True in class Mine (mine.py)"),
    "rewards": ("def shaped_rewards(self, batch):\n    return batch.rewards.sum()", "expected shaped_rewards to retur"),
    "state": ("def state_dict(self):\n    return 1 / 0", "expected a result of state_dict, got ZeroDivisionError: "),
    "__init__": ("def __init__(self, config):\n    config.nothing", "expected a result of __init__, got AttributeErr"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_users_optimizer_is_one_line(mistake: str, tmp_path: Path) -> None:
    body, expected = MISTAKES[mistake]
    with pytest.raises(OptimizerError) as caught:
        list(trainer(tmp_path, body).run())
    message = str(caught.value)
    assert "class Mine" in message
    assert "mine.py" in message
    assert "\n" not in message
    parts = expected.split(".*")
    places = [message.find(part) for part in parts]
    assert places == sorted(places), message
    assert min(places) >= 0, message


def test_a_baseline_may_be_nan_on_padding(tmp_path: Path) -> None:
    body = BASELINE + "return torch.where(batch.mask, batch.values, torch.nan)"
    assert len(list(trainer(tmp_path, body).run())) == 1


def test_bugs_of_this_project_stay_tracebacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def buggy(self: PPO, batch: Batch) -> Tensor:
        return batch.nothing  # type: ignore[attr-defined, no-any-return]

    monkeypatch.setattr(PPO, "baseline", buggy)
    with pytest.raises(AttributeError):
        list(trainer(tmp_path, "pass").run())
    monkeypatch.setattr(PPO, "baseline", lambda self, batch: torch.zeros(3) @ torch.zeros(4))
    config = TrainConfig.from_flat({**TINY, "optimizer": "ppo"})
    with pytest.raises(RuntimeError):
        list(make_trainer(config, tmp_path / "ppo").run())


def test_an_incomplete_class_is_refused_with_what_it_must_define(tmp_path: Path) -> None:
    (file := tmp_path / "mine.py").write_text(
        "from actde import Optimizer, PPO\nclass NoName(PPO): pass\n"
        "class New(Optimizer):\n    def baseline(self, batch): return batch.values\n"
        "class Taken(PPO): name = 'actde'\n"
        "class Abstract(Optimizer): name = 'abstract'\n"
    )
    with pytest.raises(OptimizerError, match=r"set `name` in class NoName \(mine.py\)"):
        optimizer_name(f"{file}:NoName")
    with pytest.raises(OptimizerError, match=r"set `name` in class New \(mine.py\)"):
        optimizer_name(f"{file}:New")
    with pytest.raises(OptimizerError, match=r"'actde' already exists; choose another name \(mine.py\)"):
        optimizer_name(f"{file}:Taken")
    with pytest.raises(OptimizerError, match=r"class Abstract must define baseline \(mine.py\)"):
        optimizer_name(f"{file}:Abstract")


def test_naming_the_file_of_an_optimizer_is_enough_to_resume(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out = tmp_path / "mine.py", tmp_path / "run"
    file.write_text(HEAD)
    settings = [word for name, value in TINY.items() for word in (f"--{name}", value)]
    assert command("train", "--optimizer", f"{file}:Mine", *settings, "--out", out)[0] == 0
    monkeypatch.setattr(registry, "_registered", {})
    status, _, said = command("train", "--resume", "--out", out, "--iterations", "2")
    assert (status, f"add --import {file}:Mine" in said) == (2, True)
    status, shown, said = command("train", "--resume", "--out", out, "--iterations", "2", "--import", file)
    assert (status, "2/2" in shown + said) == (0, True), shown + said


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("class A(actde.PPO): ...\nclass B(A): ...\nclass C: ...", "{file}:A or {file}:B"),
        ("class Mine(base.MyOptimizer[int]): ...", "{file}:Mine"),
        ("import secrets_that_must_not_run", "{file}:Class"),
    ],
)
def test_a_file_without_a_class_is_answered_with_its_classes(tmp_path: Path, code: str, names: str) -> None:
    (file := tmp_path / "mine.py").write_text(code)
    with pytest.raises(GameError) as error:
        optimizer_name(str(file))
    assert str(error.value) == f"{file} is Python code; name the class: {names.format(file=file)}"


def test_a_file_in_the_current_folder_is_suggested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(HEAD)
    with pytest.raises(GameError, match=r"no optimizer is called 'mine'; mine.py is .* name the class: mine.py:Mine"):
        optimizer_name("mine")
    assert optimizer_name("ppo") == "ppo"
