"""`make-pairs` and `train-reward` continue after a full disk, and give what an undisturbed command gives."""

import errno
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from agents.play.runner import EpisodeRunner
from agents.storage.checkpoint import save_agent
from agents.text import preferences
from agents.training import reward_model, reward_training
from tests.conftest import Command
from tests.helpers.preferences import PROMPTS, save_trunk, separable

FULL = OSError(errno.ENOSPC, "No space left on device", "the disk")
PAIRS = (
    *("make-pairs", "--game", "completion?prompts=prompts.jsonl&choices= red, blue", "--judge", "letter:b"),
    *("--agent", "random", "--pairs", "40"),
)
REWARD = ("train-reward", "--pairs", "pairs.jsonl", "--trunk", "trunk", "--lora", "2", "--epochs", "2")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with prompts, pairs and a trunk."""
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in PROMPTS))
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(asdict(pair)) + "\n" for pair in separable(40)))
    save_trunk(tmp_path / "trunk")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def failing(function: Callable[..., Any], after: int) -> Callable[..., Any]:
    """Return a version of `function` that fails after this number of calls."""
    calls = iter(range(after))

    def call(*arguments: Any, **keywords: Any) -> Any:
        if next(calls, None) is None:
            raise FULL
        return function(*arguments, **keywords)

    return call


def counted(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[str]:
    """Return a list that gets an element for each call of a function."""
    calls, function = list[str](), getattr(owner, name)

    def call(*arguments: Any, **keywords: Any) -> Any:
        calls.append(name)
        return function(*arguments, **keywords)

    monkeypatch.setattr(owner, name, call)
    return calls


@pytest.mark.parametrize(("name", "after"), [("append_rows", 1), ("write_preferences", 0)])
def test_make_pairs_continues(
    name: str, after: int, command: Command, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        played = counted(patch, EpisodeRunner, "play")
        assert command(*PAIRS, "--out", "whole.jsonl")[0] == 0
        batches = len(played)
    assert batches > 2
    with monkeypatch.context() as patch:
        patch.setattr(preferences, name, failing(getattr(preferences, name), after))
        status, out, err = command(*PAIRS, "--out", "out.jsonl")
        assert (status, out, err) == (1, "", "error: the disk is full: the disk\n")
    unfinished = place / ".out.jsonl.part"
    stored = len(unfinished.read_text().splitlines()) - 1
    assert stored == (after or batches)
    with unfinished.open("a") as file:
        file.write('[{"prompt"')  # a killed process
    with monkeypatch.context() as patch:
        played = counted(patch, EpisodeRunner, "play")
        assert command(*PAIRS, "--out", "out.jsonl")[0] == 0
        assert len(played) == batches - stored
    assert (place / "out.jsonl").read_bytes() == (place / "whole.jsonl").read_bytes()
    assert not unfinished.exists()


def test_another_sampling_does_not_continue(command: Command, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command(*PAIRS, "--seed", "1", "--out", "whole.jsonl")[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr(preferences, "write_preferences", failing(preferences.write_preferences, 0))
        assert command(*PAIRS, "--out", "out.jsonl")[0] == 1
    assert command(*PAIRS, "--seed", "1", "--out", "out.jsonl")[0] == 0
    assert (place / "out.jsonl").read_bytes() == (place / "whole.jsonl").read_bytes()


@pytest.mark.parametrize(("saves", "repeated"), [(0, 1.0), (1, 1.0), (2, 0.5), (3, 0.0)])
def test_train_reward_continues(
    saves: int, repeated: float, command: Command, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training saves a checkpoint at the start and after both epochs, and then the model."""
    with monkeypatch.context() as patch:
        steps = counted(patch, reward_training, "_gradient_step")
        assert command(*REWARD, "--out", "whole")[0] == 0
        total = len(steps)
    with monkeypatch.context() as patch:
        patch.setattr(reward_model, "save_agent", failing(save_agent, saves))
        status, out, err = command(*REWARD, "--out", "rm")
        assert (status, out, err) == (1, "", "error: the disk is full: the disk\n")
        assert not (place / "rm").exists()
    with monkeypatch.context() as patch:
        steps = counted(patch, reward_training, "_gradient_step")
        assert command(*REWARD, "--out", "rm")[0] == 0
        assert len(steps) == total * repeated
    for name in ("model.safetensors", "agent.json"):
        assert (place / "rm" / name).read_bytes() == (place / "whole" / name).read_bytes()
    assert not (place / ".rm.part").exists()


def test_a_damaged_checkpoint_is_one_line(command: Command, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(reward_model, "save_agent", failing(save_agent, 3))
        assert command(*REWARD, "--out", "rm")[0] == 1
    (place / ".rm.part" / "state.json").write_text("{}")
    status, _, err = command(*REWARD, "--out", "rm")
    assert status == 2 and err.count("\n") == 1 and ".rm.part/state.json is damaged" in err
