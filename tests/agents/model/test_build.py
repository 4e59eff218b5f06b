"""Trunks by name, and model configurations that cannot be built."""

from typing import Any

import pytest
import torch

from agents.config import ModelConfig
from agents.model.build import assemble, build_model, new_trunk
from agents.protocol import AgentError

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def test_pico_is_the_trunk_of_the_post() -> None:
    torch.manual_seed(0)
    lm = new_trunk("pico", 2, 0.1)
    config = lm.config
    assert (config.n_layer, config.n_head, config.n_embd, config.n_positions, config.vocab_size) == (3, 3, 12, 128, 2)
    assert {config.embd_pdrop, config.attn_pdrop, config.resid_pdrop} == {0.1}
    assert config.activation_function == "gelu_new"  # tanh-GELU
    assert lm.lm_head.bias is None and lm.lm_head.weight is not lm.transformer.wte.weight
    for name, parameter in lm.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif "ln_" not in name:
            residual = name.endswith("c_proj.weight")
            expected = 0.02 / 6**0.5 if residual else 0.02
            if parameter.numel() > 100:
                assert float(parameter.detach().std()) == pytest.approx(expected, rel=0.15), name


def test_heads_for_the_prisoners_dilemma() -> None:
    torch.manual_seed(0)
    model, words = assemble(ModelConfig(trunk="pico"), ("cooperate", "defect"))
    heads: Any = model.heads
    assert len(words) == 2
    assert heads.value.out.weight.shape == (1, 12) and heads.q[0].out.weight.shape == (2, 12)
    assert sum(p.numel() for p in heads.parameters()) == 13 + 26
    assert 0.005 < float(heads.q[0].out.weight.detach().std()) < 0.04


def test_the_seed_determines_the_weights() -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        model, _ = assemble(ModelConfig(trunk="pico"), ("cooperate", "defect"))
        return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    assert torch.equal(weights(0), weights(0)) and not torch.equal(weights(0), weights(1))


def test_q_heads_of_a_large_vocabulary_are_tied_to_the_lm_head() -> None:
    model, _ = assemble(ModelConfig(trunk="pico"), [f"{a}{b}{c}" for a in LETTERS for b in LETTERS for c in LETTERS])
    head: Any = model.heads.q[0]
    assert not hasattr(head, "out") and head.project.weight.shape == (12, 12)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ModelConfig(trunk="pico", lora=4), "--lora"),
        (ModelConfig(trunk="small", dropout=0.1), "no dropout"),
        (ModelConfig(trunk="smoll2"), "smollm2"),
    ],
)
def test_invalid_configurations_are_refused(config: ModelConfig, message: str) -> None:
    with pytest.raises(AgentError, match=message):
        assemble(config, None)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "gpt3"}, "not one of transformers' decoders"),
        ({}, "not one of transformers' decoders"),
        ({"model_type": "gpt2", "n_layer": 1, "n_embd": 12, "n_head": 3, "vocab_size": 5}, "3 tokens"),
    ],
)
def test_a_config_that_fits_no_model_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(AgentError, match=message):
        build_model(ModelConfig(trunk="pico"), config, 3, [])
