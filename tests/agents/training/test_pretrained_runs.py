"""A pretrained trunk from a folder, trained in full or through an adapter."""

from pathlib import Path
from typing import Any

import pytest
import torch

from actde import OptimizerConfig, OptimizerError
from agents.config import ModelConfig, TrainConfig, UpdateConfig
from agents.model.actor_critic import ActorCritic
from agents.model.build import assemble
from agents.storage.checkpoint import load_agent, load_tensors, read_tensors, save_agent, trained_tensors
from agents.text.prompt import prompt_format
from agents.text.stream_tokenizer import StreamTokenizer
from agents.training.updater import make_torch_optimizer
from experiments.decoders.architectures import tiny_decoder
from tests.agents.text.test_prompt import CHATML
from tests.helpers.models import KINDS, Kind, agent, assert_close, tiny_lm, tokenizer
from tests.helpers.tokenizers import llama
from tests.helpers.updates import gradients, learn, rollout_of, updater


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    kind: Kind = request.param
    words = tokenizer()
    tiny_lm(kind, len(words)).save_pretrained(tmp_path / "base")
    words.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def assembled(folder: Path, **settings: Any) -> ActorCritic:
    torch.manual_seed(5)
    return assemble(ModelConfig(trunk=str(folder), **settings), None)[0].eval()


def test_an_adapter_trains_only_itself_and_the_heads(folder: Path) -> None:
    model = assembled(folder, lora=2)
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert all("lora_" in name or name.startswith("heads.") for name in names)
    assert any("lora_" in name for name in names)
    frozen = {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
    start = {n: p.clone() for n, p in model.named_parameters() if p.requires_grad}
    learn(updater(model, lr=0.02, epochs=3), rollout_of(model))
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, frozen[name]) if name in frozen else not torch.equal(parameter, start[name]), name


def test_a_new_adapter_changes_nothing_yet(folder: Path) -> None:
    plain, adapted = assembled(folder), assembled(folder, lora=2)
    tokens = torch.tensor([[3, 14, 15, 9, 2, 6]])
    with torch.no_grad():
        assert_close(adapted.hidden_states(tokens, use_cache=False), plain.hidden_states(tokens, use_cache=False))


@pytest.mark.parametrize("place", ["loss", "reward"])
def test_the_reference_is_the_trunk_without_its_adapter(folder: Path, place: Any) -> None:
    model, reference = assembled(folder, lora=2), assembled(folder)
    learning = OptimizerConfig(gamma=0.5, kl_coef=0.5, kl_place=place, value_coef=0.0, q_coef=0.0)
    update = updater(model, learning=learning, lr=0.05, epochs=3)
    first = rollout_of(model)
    part = first.micro_batch(range(len(first)))
    update.reference.evaluate(first)
    before = first.ref_logprobs
    assert before is not None
    with torch.no_grad():
        heads = model(part.tokens, part.choices)
    assert_close(before.nan_to_num(neginf=0), heads.logprobs.nan_to_num(neginf=0))
    learn(update, first)
    second = rollout_of(model, seed=1)
    measures = learn(updater(model, learning=learning, lr=0.0), second)
    with torch.no_grad():
        part = second.micro_batch(range(len(second)))
        ours, theirs = (m(part.tokens, part.choices).logprobs for m in (model, reference))
    assert second.ref_logprobs is not None
    assert_close(second.ref_logprobs.nan_to_num(neginf=0), theirs.nan_to_num(neginf=0))
    exact = torch.where(theirs.isfinite(), ours.exp() * (ours - theirs), 0.0).sum(-1).mean()
    assert float(exact) > 1e-3 and measures["kl_ref"] == pytest.approx(float(exact), rel=1e-3)


def test_an_adapter_has_the_same_gradient_with_gradient_checkpointing(folder: Path) -> None:
    model = assembled(folder, lora=2)
    rollout = rollout_of(model)
    model.train()
    (plain,) = gradients(model, rollout)
    model.enable_gradient_checkpointing()
    (checkpointed,) = gradients(model, rollout)
    assert plain.keys() == checkpointed.keys()
    for name, gradient in plain.items():
        assert_close(checkpointed[name], gradient, within=1e-5)


@pytest.mark.parametrize("lora", [0, 2])
def test_checkpoints_of_adapted_and_of_whole_trunks(folder: Path, tmp_path: Path, lora: int) -> None:
    config = ModelConfig(trunk=str(folder), lora=lora, q_heads=2, target_q=True)
    model, words = assemble(config, None)
    model.eval()
    learn(updater(model, lr=0.02), rollout_of(model))
    about = {"name": "x", "prompt": "plain", "mode": "trie", "context": 64}
    save_agent(tmp_path / "saved", model, words, config, about)
    loaded = load_agent(tmp_path / "saved")
    ours, theirs = trained_tensors(model), trained_tensors(loaded.model)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert ("heads.target_q.0.out.weight" in ours) and (lora == 0 or not any("embed" in name for name in ours))
    tokens = torch.tensor([[3, 14, 15, 9, 2, 6]])
    with torch.no_grad():
        assert torch.equal(
            model.hidden_states(tokens, use_cache=False), loaded.model.hidden_states(tokens, use_cache=False)
        )
    load_tensors(model, read_tensors(tmp_path / "saved" / "model.safetensors"), tmp_path)


def test_bfloat16_plays_and_learns(folder: Path) -> None:
    model = assembled(folder, lora=2, dtype="bfloat16")
    assert next(model.heads.parameters()).dtype == torch.float32
    rollout = rollout_of(model)
    measures = learn(updater(model, lr=0.01), rollout)
    assert measures["ratio"] == pytest.approx(1.0, abs=0.1) and measures["grad_norm"] > 0
    assert agent(model).context == 128


def test_the_whole_trunk_is_trained_without_an_adapter(folder: Path) -> None:
    model = assembled(folder)
    groups = make_torch_optimizer(model, UpdateConfig()).param_groups
    assert {id(parameter) for group in groups for parameter in group["params"]} == {
        id(parameter) for parameter in model.parameters()
    }


def test_recomputed_activations_and_dropout_in_the_rollout_are_refused() -> None:
    with pytest.raises(OptimizerError, match="cannot be combined"):
        TrainConfig.from_flat({"rollout_dropout": True, "gradient_checkpointing": True})


def test_a_checkpoint_keeps_the_bos_token_the_blanks_and_the_chat_template(tmp_path: Path) -> None:
    whole = llama()
    whole.chat_template = CHATML
    tiny_decoder("llama", len(whole)).save_pretrained(tmp_path / "base")
    whole.save_pretrained(tmp_path / "base")
    config = ModelConfig(trunk=str(tmp_path / "base"), lora=2)
    model, loaded = assemble(config, None)
    about = {"name": "x", "prompt": "chat", "mode": "trie", "context": 64}
    save_agent(tmp_path / "saved", model, loaded, config, about)
    player = load_agent(tmp_path / "saved")
    assert player.prompt == prompt_format("chat", whole)
    before, after = StreamTokenizer(whole), player.stream_tokenizer
    assert after.start_tokens == before.start_tokens == [whole.bos_token_id]
    for text in ("go north", " take the red key", "\n"):
        assert (after.begin(text), after.encode(text)) == (before.begin(text), before.encode(text))
        assert after.decode(after.encode(text)) == text
    assert whole.bos_token_id in player.text_ends[0]
