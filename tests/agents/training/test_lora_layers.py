"""With `--lora-layers`, an update runs the layers below the adapter once and has the gradients of a plain update."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from actde import OptimizerConfig
from actde.errors import ConfigError
from agents.config import ModelConfig, TrainConfig
from agents.language_model.agent import LanguageModelAgent
from agents.model.build import assemble
from agents.model.lower_layers import decoder_layers, frozen_layers
from agents.model.packed_attention import can_pack
from agents.protocol import AgentError
from agents.storage.checkpoint import load_agent, read_tensors
from agents.storage.checkpoint_files import WEIGHTS, newest
from agents.storage.export import export_agent
from agents.training import frozen_trunk
from agents.training.factory import make_trainer
from agents.training.memory_prediction import forecast
from agents.training.presets import resolve
from tests.agents.training.test_trainer import assert_same_run, trained
from tests.helpers.random_rollouts import random_rollout
from tests.helpers.updates import Kept, learn, updater

DECODERS = ("llama", "gpt_neox", "gpt2", "gemma3_text")
LEARNING = OptimizerConfig(gamma=0.9, value_coef=0.5, entropy_coef=0.1, kl_coef=0.2)


def adapted(folder: str, **settings: Any) -> Any:
    """A model in training mode, whose adapter and heads are not zero."""
    torch.manual_seed(0)
    given = {"trunk": folder, "lora": 2, "lora_layers": 1} | settings
    model, _ = assemble(ModelConfig.model_validate(given), None)
    for name, parameter in model.named_parameters():
        if "lora_" in name or name.startswith("heads."):
            nn.init.normal_(parameter, std=0.3)
    return model.train()


def tokens_by_layer(model: Any) -> list[int]:
    """Count the tokens that each layer computes from now on, in the returned list."""
    counts = [0] * model.layers

    def counting(index: int) -> Any:
        def count(module: Any, inputs: tuple[torch.Tensor]) -> None:
            counts[index] += inputs[0].numel() // inputs[0].shape[-1]

        return count

    for index, layer in enumerate(decoder_layers(model)):
        layer.get_submodule("input_layernorm").register_forward_pre_hook(counting(index))
    return counts


def updates(model: Any, monkeypatch: pytest.MonkeyPatch, name: str = "actde", **settings: Any) -> Any:
    """Return the gradients and the metrics of a plain update, and of one that keeps the lower layers' states."""
    rollout = settings.pop("rollout", None) or random_rollout()
    given: dict[str, Any] = {"epochs": 2, "minibatches": 2, "learning": LEARNING} | settings
    found, heads = [], deepcopy(model.heads.state_dict())  # updates move the target Q heads
    for plain in (True, False):
        kept = Kept(model)
        model.heads.load_state_dict(heads)
        with monkeypatch.context() as patch:
            if plain:
                patch.setattr(frozen_trunk, "frozen_layers", lambda model: 0)
            torch.manual_seed(1)  # of the adapter's dropout
            found.append((kept.steps, learn(updater(model, name, torch_optimizer=kept, **given), rollout)))
        assert rollout.frozen is None and not any("forward" in vars(module) for module in model.modules())
    return found


def assert_kept_states_change_nothing(model: Any, monkeypatch: pytest.MonkeyPatch, *args: Any, **settings: Any) -> None:
    (wanted, plain), (steps, measures) = updates(model, monkeypatch, *args, **settings)
    assert len(steps) == len(wanted) > 0
    for ours, theirs in zip(steps, wanted, strict=True):
        assert ours.keys() == theirs.keys() and any("lora_" in name for name in ours)
        one, other = (torch.cat([step[name].flatten() for name in theirs]) for step in (ours, theirs))
        assert float((one - other).norm()) <= 1e-5 * float(other.norm())
    assert measures.pop("prefix_sharing") > plain.pop("prefix_sharing")
    assert measures == pytest.approx(plain, rel=1e-4, abs=1e-6)


# -- the same gradients ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("sharing", ["auto", "off"])
@pytest.mark.parametrize("budget", [1, 100, 4096])
def test_gradients_are_those_of_an_update_that_runs_all_layers(
    name: str, sharing: str, budget: int, folders: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"prefix_sharing": sharing, "micro_batch_tokens": budget}
    assert_kept_states_change_nothing(adapted(folders(name)), monkeypatch, **settings)


@pytest.mark.parametrize("name", ["ppo", "mpo", "ilql", "grpo"])
def test_other_optimizers(name: str, folders: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = adapted(folders("llama"), q_heads=2, target_q=True)
    assert_kept_states_change_nothing(model, monkeypatch, name, rollout=random_rollout(group_size=4))


def test_free_text_the_lm_loss_and_gradient_checkpointing(folders: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = adapted(folders("gpt_neox"))
    assert_kept_states_change_nothing(model, monkeypatch, rollout=random_rollout(free=True))
    assert_kept_states_change_nothing(model, monkeypatch, lm_loss_coef=0.5, lm_loss_tokens=9)
    model.enable_gradient_checkpointing()
    assert_kept_states_change_nothing(model, monkeypatch)


@pytest.mark.parametrize("kind", ["bfloat16", "dropout"])
def test_bfloat16_and_the_dropout_of_the_adapter(kind: str, folders: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"dtype": "bfloat16"} if kind == "bfloat16" else {"dropout": 0.3}
    model = adapted(folders("llama"), **changes)
    assert kind == "bfloat16" or not can_pack(model), "the dropout is active"
    assert_kept_states_change_nothing(model, monkeypatch, prefix_sharing="off")


def test_a_frozen_copy_of_the_initial_policy_uses_the_kept_states(
    folders: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = adapted(folders("llama"))
    shared = {id(p): p for p in model.lm.parameters() if not p.requires_grad}
    copy = deepcopy(model, shared).eval().requires_grad_(False)
    assert_kept_states_change_nothing(model, monkeypatch, reference=copy)
    counts = tokens_by_layer(copy)
    updates(model, monkeypatch, reference=copy)
    assert 0 < 2 * counts[0] == counts[1], "the plain update alone ran the lower layer of the copy"
    other = deepcopy(copy)
    (_, plain), (_, measures) = updates(model, monkeypatch, reference=other)
    assert measures["prefix_sharing"] == plain["prefix_sharing"], "lower layers of another model"


def test_states_of_other_tokens_are_noticed(folders: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    right = frozen_trunk.RolloutStates.load

    def shifted(self: Any, *arguments: Any) -> Any:
        self._states = self._states.roll(1, 0)
        return right(self, *arguments)

    monkeypatch.setattr(frozen_trunk.RolloutStates, "load", shifted)
    with pytest.raises(AssertionError):
        assert_kept_states_change_nothing(adapted(folders("llama")), monkeypatch)


# -- what is skipped -----------------------------------------------------------------------------------------------


def test_lower_layers_read_each_token_once(folders: Any) -> None:
    model, rollout = adapted(folders("gemma3_text"), lora_layers=1), random_rollout()  # four layers
    assert frozen_layers(model) == 3
    tokens = sum(len(segment.tokens) for segment in rollout.segments)
    counts = tokens_by_layer(model)
    settings: dict[str, Any] = {"prefix_sharing": "off", "micro_batch_tokens": 1, "epochs": 3, "learning": LEARNING}
    measures = learn(updater(model, torch_optimizer=Kept(model), **settings), rollout)
    assert counts == [tokens, tokens, tokens, 4 * tokens], "the upper layer also runs for the reference policy"
    assert measures["prefix_sharing"] == pytest.approx(3 / (3 / 4 + 3 / 4))


def test_the_adapter_is_in_the_upper_layers_alone(folders: Any) -> None:
    model = adapted(folders("gemma3_text"), lora_layers=2)
    trained = [name for name, parameter in model.lm.named_parameters() if parameter.requires_grad]
    assert {name.split("layers.")[1][0] for name in trained} == {"2", "3"} and frozen_layers(model) == 2
    for whole in ({"lora_layers": 4}, {"lora_layers": None}):
        assert frozen_layers(adapted(folders("gemma3_text"), **whole)) == 0
    assert frozen_layers(adapted(folders("gemma3_text"), lora=0, lora_layers=None)) == 0


@pytest.mark.parametrize("name", ["gemma3n_text", "falcon"])
def test_a_decoder_whose_layers_cannot_be_skipped_runs_all_of_them(
    name: str, folders: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = adapted(folders(name))
    assert frozen_layers(model) == 0
    (wanted, plain), (steps, measures) = updates(model, monkeypatch)
    assert measures == plain and torch.equal(
        *(torch.cat([g.flatten() for g in s[0].values()]) for s in (steps, wanted))
    )


# -- mistakes and runs ---------------------------------------------------------------------------------------------


def test_mistakes_are_one_line(folders: Any) -> None:
    with pytest.raises(ConfigError, match="--lora-layers 3 needs an adapter"):
        ModelConfig(lora_layers=3)
    with pytest.raises(AgentError, match="--lora-layers 3 is more than the trunk's 2 layers"):
        adapted(folders("llama"), lora_layers=3)


def run_config(folder: str, **changes: Any) -> TrainConfig:
    usual = {"game": "bandit", "trunk": folder, "lora": 2, "lora_layers": 1, "episodes": 4, "parallel": 4}
    return TrainConfig.from_flat(
        usual | {"epochs": 2, "minibatches": 2, "lr": 0.01, "iterations": 4, "save_every": 1, "kl_coef": 0.1} | changes
    )


def test_a_run_is_resumed_played_exported_and_continued(folders: Any, tmp_path: Path) -> None:
    wanted = run_config(folders("llama"))
    whole = trained(wanted, tmp_path / "whole")
    part = trained(wanted.replace(iterations=2), tmp_path / "part")
    assert_same_run(trained(wanted, part, resume=True), whole)
    names = read_tensors(newest(whole) / WEIGHTS)
    assert all("layers.0." not in name for name in names) and any("layers.1." in name for name in names)

    played = load_agent(whole)
    assert isinstance(played, LanguageModelAgent) and frozen_layers(played.model) == 1
    tokens = torch.tensor([[3, 14, 15, 9, 2, 6]])
    with torch.no_grad():
        states = played.model.hidden_states(tokens, use_cache=False)
    export_agent(whole, tmp_path / "exported")
    assert "on the upper layer" in (tmp_path / "exported" / "README.md").read_text()
    merged, _ = assemble(ModelConfig(trunk=str(tmp_path / "exported")), None)
    export_agent(whole, tmp_path / "adapter", adapter=True)
    from peft import PeftModel

    base, _ = assemble(ModelConfig(trunk=folders("llama")), None)
    with pytest.warns(FutureWarning):  # peft uses a name that transformers deprecates
        peft = PeftModel.from_pretrained(base.lm, tmp_path / "adapter")
    with torch.no_grad():
        assert torch.allclose(merged.hidden_states(tokens, use_cache=False), states, atol=1e-5)
        found = peft.get_base_model().get_decoder()(tokens, use_cache=False).last_hidden_state
        assert torch.allclose(found, states, atol=1e-5)

    taken = resolve({"game": "bandit", "init": str(whole)})
    assert taken.model.lora_layers == 1
    trained(run_config(folders("llama"), init=str(whole), iterations=1), tmp_path / "second")
    with pytest.raises(AgentError, match="lora_layers=1, this run has lora_layers=none; use the same --lora-layers"):
        make_trainer(run_config(folders("llama"), init=str(whole), lora_layers=None), tmp_path / "third")


def test_a_run_of_an_older_version_is_continued(folders: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its settings lack `lora_layers`."""
    dump = ModelConfig.model_dump

    def without_the_setting(self: ModelConfig) -> dict[str, Any]:
        return {name: value for name, value in dump(self).items() if name != "lora_layers"}

    with monkeypatch.context() as patch:
        patch.setattr(ModelConfig, "model_dump", without_the_setting)
        older = trained(run_config(folders("llama"), lora_layers=None, iterations=1), tmp_path / "older")
    assert resolve({"init": str(older)}).model.lora_layers is None
    trained(run_config(folders("llama"), lora_layers=None, init=str(older), iterations=1), tmp_path / "new")


def test_the_predicted_memory_is_that_of_the_upper_layers(folders: Any) -> None:
    few, many = (
        forecast(run_config(folders("gemma3_text"), lora_layers=layers)).predict(
            parallel=2, micro_batch_tokens=64, context=32
        )
        for layers in (1, 4)
    )
    assert few.activations < 0.6 * many.activations and few.moments < many.moments
