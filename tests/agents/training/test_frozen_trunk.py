"""Updates of the heads alone run the trunk once, with the gradients of an update that runs it in every step."""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from actde import OptimizerConfig
from agents.model.actor_critic import ActorCritic
from agents.storage.checkpoint import read_tensors
from agents.storage.checkpoint_files import TRAINING, WEIGHTS, newest
from agents.training import frozen_trunk
from agents.training import updater as updates
from agents.training.frozen_trunk import RolloutStates, trains_heads_alone
from agents.training.rollout_batch import RolloutBatch
from tests.agents.training.test_trainer import assert_same_run, settings, trained
from tests.helpers.models import KINDS, Kind, tiny_model
from tests.helpers.updates import Kept, learn, rollout_of, updater

LEARNING = OptimizerConfig(gamma=0.5, value_coef=0.5, entropy_coef=0.1, kl_coef=0.1)


class HeadsAlone(Kept):
    """Records gradients, as a torch optimizer of a run with `--lr 0` would receive them."""

    def __init__(self, model: ActorCritic) -> None:
        super().__init__(model)
        for group in self.param_groups:
            group["full_lr"] = 0.0 if group["name"] == "policy" else 0.1


def frozen_model(kind: Kind = "llama", **settings: Any) -> Any:
    model = tiny_model(kind, **settings)
    model.noisy_trunk = False
    return model


def tokens_read(model: Any, kept: Kept, rollout: RolloutBatch, name: str = "actde", **settings: Any) -> int:
    """Make an update, and return how many tokens the trunk has read for the gradient steps."""
    read = list[int]()
    hook = model.decoder.register_forward_pre_hook(
        lambda module, arguments, given: read.append(given["input_ids"].numel()), with_kwargs=True
    )
    given: dict[str, Any] = {
        "prefix_sharing": "off",
        "micro_batch_tokens": 1,
    } | settings  # one stream at a time, without padding
    learn(updater(model, name, torch_optimizer=kept, **given), rollout)
    hook.remove()
    return sum(read)


def of_heads(steps: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    return [{name: g for name, g in step.items() if name.startswith("heads.")} for step in steps]


def assert_equal_to_rounding(found: list[dict[str, Tensor]], wanted: list[dict[str, Tensor]]) -> None:
    """The relative error of the gradient of all heads is at most 1e-6."""
    assert len(found) == len(wanted) > 0
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.keys() == theirs.keys()
        one, other = (torch.cat([step[name].flatten() for name in theirs]) for step in (ours, theirs))
        assert float((one - other).norm()) <= 1e-6 * float(other.norm())


CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "actde": ("actde", {}, {}, {}),
    "two layers": ("actde", {"layers": 2, "dueling": True}, {}, {}),
    "detached": ("actde", {"detach_q": True, "detach_value": True}, {}, {}),
    "ilql": ("ilql", {"q_heads": 2, "target_q": True, "layers": 2}, {}, {}),
    "commands": ("rejection-transition", {}, {"credit": "command"}, {}),
    "free text": ("actde", {}, {"mode": "free", "max_command_tokens": 4}, {}),
    "shared prefixes": ("actde", {}, {}, {"prefix_sharing": "auto"}),
    "mpo": ("mpo", {"layers": 2}, {}, {}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_the_gradients_of_the_heads_are_those_of_an_update_that_runs_the_trunk_in_every_step(
    case: str, kind: Kind
) -> None:
    name, heads, play, settings = CASES[case]
    model = frozen_model(kind, **heads)
    rollout = rollout_of(model, **play)
    reference = tiny_model(kind, seed=7).requires_grad_(False)
    kept, trained = [Kept(model), HeadsAlone(model)], [p.requires_grad for p in model.parameters()]
    given = {"epochs": 2, "minibatches": 3, "learning": LEARNING, "reference": reference} | settings
    measures = [learn(updater(model, name, torch_optimizer=each, **given), rollout) for each in kept]
    assert len(kept[0].steps) == 6
    assert_equal_to_rounding(kept[1].steps, of_heads(kept[0].steps))
    for each in measures:
        del each["grad_norm"], each["prefix_sharing"]
    assert measures[1] == pytest.approx(measures[0], rel=1e-4, abs=1e-6)
    assert rollout.frozen is None and [p.requires_grad for p in model.parameters()] == trained


def test_hidden_states_of_other_choices_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = frozen_model()
    rollout, kept = rollout_of(model), [Kept(model), HeadsAlone(model)]
    learn(updater(model, torch_optimizer=kept[0]), rollout)
    right = RolloutStates.load

    def shifted(self: RolloutStates, *arguments: Any) -> Any:
        self._states = self._states.roll(1, 0)
        return right(self, *arguments)

    monkeypatch.setattr(RolloutStates, "load", shifted)
    learn(updater(model, torch_optimizer=kept[1]), rollout)
    with pytest.raises(AssertionError):
        assert_equal_to_rounding(kept[1].steps, of_heads(kept[0].steps))


def test_the_trunk_reads_each_token_once() -> None:
    model = frozen_model()
    rollout = rollout_of(model)
    tokens = sum(len(segment.tokens) for segment in rollout.segments)
    assert tokens_read(model, HeadsAlone(model), rollout, epochs=3, minibatches=2) == tokens
    assert tokens_read(model, Kept(model), rollout, epochs=3, minibatches=2) == 3 * tokens, "a policy that learns"
    measures = learn(updater(model, torch_optimizer=HeadsAlone(model), epochs=3, prefix_sharing="off"), rollout)
    assert measures["prefix_sharing"] == 3.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_zeros_are_not_sent_for_a_policy_that_is_frozen(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    model, sent = frozen_model(), list[list[int]]()
    model.lm.to(dtype)
    monkeypatch.setattr(Accelerator, "num_processes", 2)
    monkeypatch.setattr(updates, "sum_gradients", lambda some: sent.append([p.numel() for p in some]))
    rollout = rollout_of(model)
    learn(updater(model, lr=0.0, value_lr=0.1, q_lr=0.1), rollout)
    learn(updater(model), rollout)
    heads = sum(p.numel() for p in model.heads.parameters() if p.requires_grad)
    assert list(map(sum, sent)) == [heads, sum(p.numel() for p in model.parameters() if p.requires_grad)]


def test_dropout_and_a_rate_of_the_policy_run_the_trunk_in_every_step() -> None:
    plain, noisy = frozen_model().train(), tiny_model(dropout=0.1).train()
    quiet = tiny_model(dropout=0.1).eval()
    with_adapter = frozen_model().train()
    with_adapter.lm.add_module("lora_dropout", torch.nn.Dropout(0.1).train())
    cases: list[tuple[ActorCritic, Kept, dict[str, Any], bool]] = [
        (plain, HeadsAlone(plain), {}, True),
        (plain, Kept(plain), {}, False),
        (plain, HeadsAlone(plain), {"lm_loss_coef": 0.1}, False),
        (noisy, HeadsAlone(noisy), {}, False),
        (quiet, HeadsAlone(quiet), {}, True),
        (with_adapter, HeadsAlone(with_adapter), {}, False),
    ]
    for model, torch_optimizer, changes, wanted in cases:
        assert trains_heads_alone(updater(model, torch_optimizer=torch_optimizer, **changes)) == wanted


def test_no_learning_rate_at_all_runs_the_whole_update() -> None:
    """Benchmarks measure the time of an update in this way."""
    model = frozen_model()
    assert not trains_heads_alone(updater(model, lr=0.0))
    assert trains_heads_alone(updater(model, lr=0.0, value_lr=0.1))


def test_an_optimizer_without_a_loss_of_the_heads_takes_steps_that_change_nothing() -> None:
    model = frozen_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    measures = learn(
        updater(model, "ppo", lr=0.0, value_lr=0.1, learning=LEARNING.replace(kl_coef=0.0)), rollout_of(model)
    )
    after = model.state_dict()
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert changed == {"heads.value.out.weight", "heads.value.out.bias"} and measures["grad_norm"] > 0
    assert learn(updater(model, "grpo", lr=0.0, value_lr=0.1), rollout_of(model))["grad_norm"] == 0.0


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = {"dropout": 0.0, "rollout_dropout": False, "max_grad_norm": 1e9, "iterations": 4}
    wanted = settings("bandit", lr=0.0, value_lr=1e-2, q_lr=1e-2, **quiet)
    whole = trained(wanted, tmp_path / "whole")
    assert "torch_optimizer.0.exp_avg" not in read_tensors(newest(whole) / TRAINING), "a parameter of the policy"
    part = trained(wanted.replace(iterations=2), tmp_path / "part")
    assert_same_run(trained(wanted, part, resume=True), whole)

    with monkeypatch.context() as patch:
        patch.setattr(frozen_trunk, "trains_heads_alone", lambda updater: False)
        older = trained(wanted.replace(iterations=2), tmp_path / "older")
    trained(wanted, older, resume=True)  # its checkpoint has moments of the frozen policy
    ours, theirs = (read_tensors(newest(run) / WEIGHTS) for run in (older, whole))
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-5) for name in theirs)
