"""A training that diverges ends in one line, and saves no number that is not finite."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from agents.config import TrainConfig
from agents.protocol import AgentError, DivergenceError
from agents.storage.checkpoint import load_agent, save_agent
from agents.storage.checkpoint_files import WEIGHTS, newest
from agents.storage.run_folder import DIVERGED
from agents.storage.run_summary import summarize
from agents.training.factory import make_trainer
from agents.training.trainer import Trainer
from games.files import sha256
from tests.conftest import Command

TINY = {"game": "bandit", "trunk": "pico", "episodes": 4, "epochs": 1, "iterations": 4, "save_every": 1}
SETTINGS = TrainConfig.from_flat(TINY)


def nan_loss(trainer: Trainer) -> None:
    loss = trainer.updater.optimizer.loss
    trainer.updater.optimizer.loss = lambda *a, **k: (loss(*a, **k)[0] * torch.nan, loss(*a, **k)[1])  # type: ignore[method-assign]


def infinite_weights(trainer: Trainer) -> None:
    def spoil(*_: object) -> None:
        next(iter(trainer.updater.model.parameters())).data.view(-1)[0] = torch.inf

    trainer.updater.torch_optimizer.register_step_post_hook(spoil)


def nan_in_the_optimizer_only(trainer: Trainer) -> None:
    def spoil(*_: object) -> None:
        next(iter(trainer.updater.torch_optimizer.state.values()))["exp_avg_sq"].view(-1)[0] = torch.nan

    trainer.updater.torch_optimizer.register_step_post_hook(spoil)


def outputs_too_large(trainer: Trainer) -> None:
    def spoil(*_: object) -> None:
        for parameter in trainer.updater.model.parameters():
            parameter.data.mul_(1e20)

    trainer.updater.torch_optimizer.register_step_post_hook(spoil)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (nan_loss, "the gradient of the loss is not finite"),
        (infinite_weights, "weight is not finite"),
        (nan_in_the_optimizer_only, "exp_avg_sq is not finite"),
        (outputs_too_large, "is not finite"),
    ],
)
def test_a_run_that_diverges_keeps_its_last_good_checkpoint(
    spoil: Callable[[Trainer], None], said: str, tmp_path: Path
) -> None:
    trainer = make_trainer(SETTINGS, tmp_path / "run")
    run = trainer.run()
    next(run), next(run)
    before = {path: path.read_bytes() for path in newest(tmp_path / "run").iterdir()}
    spoil(trainer)
    with pytest.raises(DivergenceError, match="diverged in iteration 3: ") as caught:
        list(run)
    message = str(caught.value)
    assert said in message and "000002; a lower --lr" in message and "\n" not in message
    assert before == {path: path.read_bytes() for path in newest(tmp_path / "run").iterdir()}
    assert newest(tmp_path / "run").name == "000002"
    load_agent(tmp_path / "run")
    assert said in json.loads((tmp_path / "run" / DIVERGED).read_text())["error"]
    assert summarize(tmp_path / "run").state == "diverged"
    list(make_trainer(SETTINGS, tmp_path / "run", resume=True).run())
    assert summarize(tmp_path / "run").state == "finished"


def test_an_extreme_learning_rate_is_one_line(tmp_path: Path, command: Command) -> None:
    words = ("--game", "bandit", "--trunk", "pico", "--episodes", "4", "--save-every", "1", "--iterations", "9")
    status, _, errors = command("train", "--out", str(tmp_path / "run"), *words, "--lr", "1e8")
    assert status == 1
    assert errors.count("\n") == 1 and "the training diverged in iteration" in errors
    for folder in (tmp_path / "run").glob("checkpoints/*"):
        assert all(tensor.isfinite().all() for tensor in load_file(folder / WEIGHTS).values())


def test_weights_that_are_not_finite_are_neither_saved_nor_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(SETTINGS.replace(iterations=1), tmp_path / "run")
    list(trainer.run())
    parameter = next(iter(trainer.updater.model.parameters()))
    parameter.data.view(-1)[-1] = -torch.inf
    with pytest.raises(DivergenceError, match="is not finite"):
        trainer.save()
    load_agent(tmp_path / "run")  # the checkpoint from before
    for module in ("storage.checkpoint", "training.state"):
        monkeypatch.setattr(f"agents.{module}.check_finite", lambda tensors: None)
    save_agent(tmp_path / "bad", trainer.updater.model, trainer.agent.tokenizer, trainer.model_config, ABOUT)
    trainer.save()
    monkeypatch.undo()
    assert sha256(newest(tmp_path / "run") / WEIGHTS) == sha256(tmp_path / "bad" / WEIGHTS)
    for work in (
        lambda: load_agent(tmp_path / "bad"),
        lambda: make_trainer(SETTINGS.replace(init=str(tmp_path / "bad")), tmp_path / "new"),
        lambda: make_trainer(SETTINGS.replace(iterations=2), tmp_path / "run", resume=True),
    ):
        with pytest.raises(AgentError, match=r"model\.safetensors cannot be used: .* is not finite; use an earlier"):
            work()


ABOUT = {"name": "tester", "prompt": "plain", "mode": "trie", "context": 64}


@pytest.mark.parametrize("greedy", [False, True])
def test_an_agent_whose_outputs_are_not_finite_does_not_play(tmp_path: Path, greedy: bool, command: Command) -> None:
    trainer = make_trainer(SETTINGS.replace(iterations=1), tmp_path / "run")
    list(trainer.run())
    for parameter in trainer.updater.model.parameters():
        parameter.data.mul_(1e20)
    trainer.save()
    how = ("--greedy",) if greedy else ()
    status, _, errors = command("play", "--agent", str(tmp_path / "run"), "--game", "bandit", *how)
    assert status == 1
    assert errors == "error: the outputs of the model are not finite\n"
