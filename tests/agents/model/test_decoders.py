"""Pretrained decoders of many kinds: sizes, dropout, transformations of the logits, and limited attention."""

from pathlib import Path
from typing import Any

import pytest
import torch

from agents.config import ModelConfig, UpdateConfig
from agents.language_model.agent import LanguageModelAgent
from agents.model.actor_critic import ActorCritic
from agents.model.build import assemble
from agents.model.head_outputs import Choices
from agents.model.pretrained import load_pretrained
from agents.protocol import AgentError
from agents.storage.checkpoint import load_agent, save_agent, trained_tensors
from agents.training.memory_estimate import MemoryNeeds
from experiments.decoders.architectures import POSITIONS, WINDOW
from tests.helpers.models import assert_close

TOKENS = torch.tensor([[(7 * n) % 250 for n in range(3 * WINDOW)]])
ABOUT = {"name": "x", "prompt": "plain", "mode": "trie", "context": 64}


def assembled(folder: str, **settings: Any) -> tuple[ActorCritic, Any]:
    torch.manual_seed(0)
    model, tokenizer = assemble(ModelConfig(trunk=folder, **settings), None)
    return model, tokenizer


def states(model: ActorCritic) -> torch.Tensor:
    with torch.no_grad():
        return model.hidden_states(TOKENS, use_cache=False)


# -- sizes are those of the modules ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gemma3", "llama4", "opt", "helium", "gemma3n_text"])
def test_decoders_with_unusual_sizes_load_play_and_are_saved(folders: Any, tmp_path: Path, name: str) -> None:
    model, tokenizer = assembled(folders(name))
    assert model.context == POSITIONS and model.vocabulary == model.base.get_output_embeddings().out_features
    assert MemoryNeeds.of(model, UpdateConfig()).per_token > 0
    save_agent(tmp_path / "saved", model, tokenizer, ModelConfig(trunk=folders(name)), ABOUT)
    loaded = load_agent(tmp_path / "saved")
    assert trained_tensors(loaded.model).keys() == trained_tensors(model).keys()
    assert torch.equal(states(loaded.model), states(model.eval()))
    assert loaded.model.logit_transform == model.logit_transform


@pytest.mark.parametrize("name", ["gemma3", "llama4"])
@pytest.mark.parametrize("lora", [0, 2])
def test_parts_that_read_no_text_are_not_trained(folders: Any, name: str, lora: int) -> None:
    model, _ = assembled(folders(name), lora=lora)
    trained = [parameter for parameter in model.lm.parameters() if parameter.requires_grad]
    assert trained and {id(p) for p in trained} <= {id(p) for p in model.decoder.parameters()} | {
        id(p) for p in model.base.get_output_embeddings().parameters()
    }


# -- dropout follows the option -------------------------------------------------------------------------------

NOISY = ["gpt2", "biogpt", "gpt_bigcode", "opt", "xglm", "seed_oss", "phimoe"]


@pytest.mark.parametrize("name", NOISY)
@pytest.mark.parametrize("lora", [0, 2])
def test_without_dropout_training_mode_changes_nothing(folders: Any, name: str, lora: int) -> None:
    model, _ = assembled(folders(name), lora=lora)
    plain = states(model.eval())
    assert torch.equal(states(model.train()), plain)
    model.enable_gradient_checkpointing()
    assert torch.equal(states(model.train()), plain)


@pytest.mark.parametrize("name", ["gpt2", "biogpt", "llama", "phi3"])
def test_every_dropout_has_the_requested_rate(folders: Any, name: str) -> None:
    model, _ = assembled(folders(name), dropout=0.4)
    rates = {module.p for module in model.lm.modules() if isinstance(module, torch.nn.Dropout)}
    config = model.config.to_dict()
    rates |= {rate for key, rate in config.items() if ("dropout" in key or "pdrop" in key) and isinstance(rate, float)}
    assert rates == {0.4}
    assert not torch.equal(states(model.train()), states(model.eval()))


@pytest.mark.parametrize("name", ["gpt2", "biogpt", "llama"])
def test_with_an_adapter_only_the_adapter_has_dropout(folders: Any, name: str) -> None:
    model, _ = assembled(folders(name), lora=2, dropout=0.4)
    plain = states(model.eval())
    assert torch.equal(states(model.train()), plain)  # the adapter's output is still 0
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "lora_B" in key:
                parameter.normal_(std=0.1)
    assert not torch.equal(states(model.train()), states(model.eval()))


def test_a_decoder_without_dropout_refuses_the_option(folders: Any) -> None:
    with pytest.raises(AgentError, match=r"has no dropout: expected --dropout 0, got 0\.2"):
        load_pretrained(folders("ernie4_5"), dropout=0.2)


# -- transformations after the lm_head ------------------------------------------------------------------------

TRANSFORMED = {
    "cohere": (0.25, None),
    "granite": (0.25, None),
    "granitemoe": (0.25, None),
    "hyperclovax": (0.25, None),
    "gemma2": (1.0, 5.0),
    "vaultgemma": (1.0, 5.0),
    "nanochat": (1.0, 5.0),
    "llama": (1.0, None),
}


@pytest.mark.parametrize("name", TRANSFORMED)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_transformation_is_measured(folders: Any, name: str, dtype: str) -> None:
    model, _ = assembled(folders(name), dtype=dtype)
    assert (model.logit_transform.scale, model.logit_transform.cap) == TRANSFORMED[name]


@pytest.mark.parametrize("name", ["cohere", "granite", "gemma2", "nanochat"])
def test_terms_over_the_vocabulary_and_their_gradients_are_those_of_transformers(folders: Any, name: str) -> None:
    model, _ = assembled(folders(name))
    reference, _ = assembled(folders("llama"))
    places = torch.arange(4, TOKENS.shape[1] - 1)
    choices = Choices(
        rows=torch.zeros_like(places),
        positions=places,
        alternatives=TOKENS[0, places + 1][:, None],
        chosen=torch.zeros_like(places),
        whole_vocabulary=True,
    )
    base = reference.all_logprobs(states(reference)[0, places]).detach()
    hidden = model.hidden_states(TOKENS, use_cache=False)
    ours = model.evaluate_choices(hidden, choices, reference=lambda rows: base[rows].clone())
    logprobs = model.lm(input_ids=TOKENS, use_cache=False).logits[0, places].log_softmax(-1)
    p = logprobs.exp()
    theirs = (logprobs.gather(1, choices.alternatives)[:, 0], -(p * logprobs).sum(-1), (p * (logprobs - base)).sum(-1))
    assert ours.kl is not None
    found = []
    for terms in ((ours.logprobs[:, 0], ours.entropy, ours.kl), theirs):
        gradients = torch.autograd.grad(
            sum((number * term.sum() for number, term in enumerate(terms, 1)), torch.zeros(())),
            [parameter for parameter in model.lm.parameters() if parameter.requires_grad],
        )
        found.append([*terms, *gradients])
    for one, other in zip(*found, strict=True):
        assert_close(one, other, within=1e-4 * (1 + float(other.detach().abs().max())))


@pytest.mark.parametrize("change", [torch.relu, lambda z: z + z.sin(), lambda z: z**3])
def test_another_transformation_is_refused(folders: Any, change: Any) -> None:
    model, _ = assembled(folders("llama"))
    forward = model.lm.forward

    def changed(**kwargs: Any) -> Any:
        out = forward(**kwargs)
        out.logits = change(out.logits)
        return out

    model.lm.forward = changed
    with pytest.raises(AgentError, match="after the lm_head"):
        model.measure_logit_transform()


# -- limited attention ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mistral", "gemma3_text", "gpt_oss", "llama4", "phi3"])
def test_a_window_limits_attention_and_not_the_context(folders: Any, name: str) -> None:
    model, tokenizer = assembled(folders(name))
    model.eval()
    assert LanguageModelAgent(model, tokenizer).context == POSITIONS
    model.config.sliding_window = model.config.attention_chunk_size = POSITIONS
    unlimited = states(model)
    model.config.sliding_window = model.config.attention_chunk_size = WINDOW
    limited = states(model)
    assert_close(limited[:, :WINDOW], unlimited[:, :WINDOW])
    assert float((limited - unlimited)[:, WINDOW:].abs().max()) > 0.1
