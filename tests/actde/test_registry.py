"""Optimizers of other packages, added by a decorator or an entry point."""

import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from actde import (
    ACTDE,
    PPO,
    Batch,
    Optimizer,
    OptimizerConfig,
    OptimizerError,
    Outputs,
    Targets,
    make_optimizer,
    optimizer_class,
    optimizer_names,
    register,
    registry,
)
from tests.helpers.actde_batches import random_batch, random_outputs

OURS = [
    "actde",
    "actde-corrected",
    "decision",
    "grpo",
    "ilql",
    "imitation",
    "mpo",
    "ppo",
    "qae",
    "rejection",
    "rejection-transition",
]


class Habit(Optimizer):
    """Increases the probability of every chosen action, whatever its reward."""

    name = "habit"

    def baseline(self, batch: Batch) -> Tensor:
        return batch.values

    def policy_loss(self, batch: Batch, targets: Targets, outputs: Outputs) -> Tensor:
        return -outputs.logprobs


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, *, entry: str, code: str) -> None:
    """Write the files of an installed package with one module and one entry point."""
    (folder / "their_package.py").write_text(textwrap.dedent(code))
    info = folder / "their_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[actde.optimizers]\n{entry}\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "their_package", raising=False)


THEIRS = """
    from actde import Optimizer, register

    class Theirs(Optimizer):
        '''Advantages are returns.'''
        name = "theirs"

        def baseline(self, batch):
            return 0 * batch.values
"""


def test_built_in_optimizers_are_known_by_name() -> None:
    assert optimizer_names() == OURS
    assert isinstance(make_optimizer("ppo"), PPO)
    assert isinstance(make_optimizer("actde", OptimizerConfig(gamma=0.5)), ACTDE)
    assert make_optimizer("actde", OptimizerConfig(gamma=0.5)).config.gamma == 0.5
    assert optimizer_class("ppo") is PPO


@pytest.mark.parametrize(("name", "near"), [("pp0", "ppo"), ("ACTDE", "actde"), ("actd", "actde")])
def test_an_unknown_name_gets_a_suggestion(name: str, near: str) -> None:
    with pytest.raises(OptimizerError, match=f"unknown optimizer '{name}', .*{', '.join(OURS)}; did you mean '{near}'"):
        make_optimizer(name)
    with pytest.raises(OptimizerError, match=f"expected one of {', '.join(OURS)}$"):
        make_optimizer("zzz")


def test_a_registered_optimizer_of_a_few_lines_learns() -> None:
    assert register(Habit) is Habit
    assert register(Habit) is Habit
    assert optimizer_names() == sorted([*OURS, "habit"])
    optimizer, batch = make_optimizer("habit"), random_batch(0, [2, 3], q=False, ref=False)
    outputs = random_outputs(batch)
    loss, measures = optimizer.loss(batch, optimizer.targets(batch), outputs)
    (grad,) = torch.autograd.grad(loss, outputs.logprobs)
    torch.testing.assert_close(grad, torch.where(batch.mask, -1 / 5, 0.0).double())
    assert float(measures["policy_loss"]) == pytest.approx(-float(outputs.logprobs[batch.mask].mean().detach()))


def test_an_entry_point_adds_an_optimizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, entry="theirs = their_package:Theirs", code=THEIRS)
    assert optimizer_names() == [*OURS, "theirs"]
    assert [registry.module_of(name) for name in ("theirs", "ppo", "unknown")] == ["their_package", None, None]
    assert "their_package" not in sys.modules
    batch = random_batch(0, [2, 3])
    targets = make_optimizer("theirs", OptimizerConfig(advantage="return")).targets(batch)
    assert torch.equal(targets.advantages, targets.returns)
    with pytest.raises(OptimizerError, match="did you mean 'theirs'"):
        make_optimizer("their")
    register(optimizer_class("theirs"))
    assert optimizer_names() == [*OURS, "theirs"]


def test_a_package_may_register_the_class_of_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = textwrap.dedent(THEIRS).replace("class Theirs", "@register\nclass Theirs")
    install(tmp_path, monkeypatch, entry="theirs = their_package:Theirs", code=code)
    assert make_optimizer("theirs").name == "theirs"


def test_no_package_can_replace_ppo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, entry="ppo = their_package:Theirs", code=THEIRS)
    assert optimizer_class("ppo") is PPO
    fake = type("PPO", (Habit,), {"name": "ppo"})
    with pytest.raises(OptimizerError, match="an optimizer 'ppo' already exists"):
        register(fake)


@pytest.mark.parametrize(
    ("entry", "code", "message"),
    [
        ("other = their_package:Theirs", THEIRS, "'other' has name='theirs'; the two names must agree"),
        ("theirs = their_package:x", "x = 1", "'theirs' must be a subclass of actde.Optimizer, got 1"),
    ],
)
def test_an_entry_point_that_is_no_optimizer_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str, code: str, message: str
) -> None:
    install(tmp_path, monkeypatch, entry=entry, code=code)
    with pytest.raises(OptimizerError, match=message):
        make_optimizer(entry.split()[0])


@pytest.mark.parametrize("bad", [int, 3, print, type("Nameless", (Optimizer,), {})])
def test_only_optimizers_with_a_name_can_be_registered(bad: Any) -> None:
    with pytest.raises(OptimizerError) as error:
        register(bad)
    assert not re.search("None|<class|<function", str(error.value))


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, r"expected baseline to return a float tensor of shape \[2, 3\] on cpu, got None"),
        (torch.zeros(1, 3), r"of shape \[2, 3\] on cpu, got torch.float32 of shape \[1, 3\]"),
        (torch.zeros(2, 3, dtype=torch.bool), "got torch.bool"),
        (torch.zeros(2, 3, device="meta"), "on meta"),
        (torch.tensor([[0, 0, 0], [0, torch.inf, 0]]), "expected finite numbers from baseline, got inf at segment 1, "),
    ],
)
@pytest.mark.parametrize("advantage", ["lambda", "return"])
def test_an_unusable_baseline_is_refused(result: Any, message: str, advantage: Any) -> None:
    mine = type("Mine", (Habit,), {"name": "mine", "baseline": lambda self, batch: result})
    optimizer = mine(OptimizerConfig(advantage=advantage))
    with pytest.raises(OptimizerError, match=f"class Mine: .*{message}"):
        optimizer.targets(random_batch(0, [2, 3]))


def test_an_unusable_policy_loss_is_refused() -> None:
    mine = type("Mine", (Habit,), {"policy_loss": lambda self, batch, targets, outputs: outputs.logprobs.mean()})
    optimizer, batch = mine(OptimizerConfig()), random_batch(0, [2, 3])
    with pytest.raises(OptimizerError, match=r"expected policy_loss to return a float tensor of shape \[2, 3\]"):
        optimizer.loss(batch, optimizer.targets(batch), random_outputs(batch))
