"""Configurations of trunks that select code, download files or exhaust the memory are refused in one line."""

import socket
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from agents.model.trunk_config import check_size, library_errors, trunk_config_of
from agents.protocol import AgentError

SIZES = {"vocab_size": 20, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
LLAMA: dict[str, Any] = LlamaConfig(**SIZES).to_dict()
CODE = (
    "attn_implementation", "_attn_implementation", "_attn_implementation_internal", "experts_implementation",
    "_experts_implementation", "quantization_config", "compression_config", "kernel_config", "use_kernels",
    "trust_remote_code", "code_revision", "__class__", "to_dict", "sub_configs", "attribute_map",
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError(f"a connection to {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def check_config(stored: dict[str, Any], from_checkpoint: bool) -> None:
    config = trunk_config_of(stored, "the config", from_checkpoint=from_checkpoint)
    check_size(AutoModelForCausalLM, config, "the config", 12, 10_000)


def refused(stored: dict[str, Any], *, from_checkpoint: bool) -> str:
    with pytest.raises(AgentError) as caught:
        check_config(stored, from_checkpoint)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("from_checkpoint", [True, False])
@pytest.mark.parametrize("key", CODE)
def test_a_key_that_selects_code_is_refused(key: str, from_checkpoint: bool) -> None:
    for value in ("org/kernel", {"": "org/kernel"}, {"quant_method": "bitsandbytes"}, True):
        if (from_checkpoint or key != "_attn_implementation_internal") and not (
            key.startswith("__") and not from_checkpoint
        ):
            assert repr(key) in refused(LLAMA | {key: value}, from_checkpoint=from_checkpoint)


def test_a_nested_key_that_selects_code_is_refused() -> None:
    stored = LLAMA | {"rope_parameters": {"rope_type": "default", "attn_implementation": "org/kernel"}}
    assert "attn_implementation" in refused(stored, from_checkpoint=False)


def test_the_code_of_a_model_folder_is_ignored() -> None:
    stored = LLAMA | {"auto_map": {"AutoModelForCausalLM": "org/code--model.Model"}, "_private": 1, "js_config": {}}
    config = trunk_config_of(stored, "the config", from_checkpoint=False)
    assert not hasattr(config, "auto_map") and not hasattr(config, "_private") and config.js_config == {}
    assert "'auto_map'" in refused(stored, from_checkpoint=True)


@pytest.mark.parametrize("make", [LlamaConfig, GPT2Config])
def test_what_a_checkpoint_stores_is_accepted_and_unchanged(make: Any) -> None:
    before = make()
    assert trunk_config_of(before.to_dict(), "the config", from_checkpoint=True).to_dict() == before.to_dict()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model_type": "../evil"}, "decoders"),
        ({"model_type": ["llama"]}, "decoders"),
        ({"dtype": "save"}, "dtype"),
        ({"num_hidden_layers": 10**6}, "at most"),
        ({"num_hidden_layers": 5000}, "more layers than its 12 weights"),
        ({"hidden_size": 10**6, "head_dim": 2}, "its weights have"),
        ({"vocab_size": 10**9}, "its weights have"),
        ({"hidden_act": "org/activation"}, "describes no model"),
        ({"num_attention_heads": 0}, "the config"),
        ({"hidden_size": -16}, "the config"),
        ({"rope_parameters": 7}, "the config"),
        ({"architectures": ["a"] * 2_000_000}, "length"),
    ],
)
def test_impossible_values_are_refused(change: dict[str, Any], says: str) -> None:
    assert says in refused(LLAMA | change, from_checkpoint=True)


def test_any_exception_of_a_library_becomes_one_line() -> None:
    says = "^the tokenizer is damaged: Exception: no such field$"
    with pytest.raises(AgentError, match=says), library_errors("the tokenizer is damaged"):
        raise Exception("no such field\nin a second line")


@pytest.mark.parametrize("mistake", ["{}['a']", "None + 1", "[][0]"])
def test_a_bug_of_ours_is_not_blamed_on_the_file(mistake: str) -> None:
    with pytest.raises((KeyError, TypeError, IndexError)), library_errors("the file is damaged"):
        eval(mistake, {"__name__": "agents.model.build"})
