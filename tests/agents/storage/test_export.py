"""Exported models: the transformers library loads them, and their logits, v and q are those of the agent."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from agents.config import ModelConfig
from agents.model.actor_critic import ActorCritic
from agents.model.build import assemble
from agents.model.pretrained import load_pretrained
from agents.protocol import AgentError
from agents.storage import export
from agents.storage.checkpoint import load_agent, save_agent
from agents.storage.checkpoint_files import AGENT
from agents.storage.schema import HeadsFile
from tests.helpers.folders import file_names
from tests.helpers.models import assert_close, tiny_lm, tokenizer

ABOUT = {"name": "ppo", "prompt": "plain", "mode": "trie", "context": 64}
TEXT = "take the red key"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The folder of a pretrained model."""
    words = tokenizer()
    tiny_lm("llama", len(words)).save_pretrained(tmp_path / "base")
    words.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def agent_folder(folder: Path, **settings: Any) -> Path:
    """Save an agent all of whose tensors are random, as after a training."""
    torch.manual_seed(1)
    config = ModelConfig(**settings)
    model, words = assemble(config, None)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.2)
    made_by = {"run": {"optimizer": "ppo", "game": "bandit", "seed": 3, "init": ""}}
    save_agent(folder, model, words, config, ABOUT | {"made_by": made_by})
    return folder


def ours(folder: Path) -> tuple[ActorCritic, torch.Tensor, torch.Tensor]:
    """Return the agent's model, the tokens of TEXT [1, L], and the last hidden states [L, d]."""
    agent = load_agent(folder)
    tokens = torch.tensor([agent.tokenizer.encode(TEXT)])
    with torch.no_grad():
        return agent.model, tokens, agent.model.hidden_states(tokens, use_cache=False)[0]


def run_model_card(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run the code of the model card in its folder, and return the code's variables."""
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL):
        with torch.no_grad():
            exec(block.replace('"go"', repr(TEXT)), names)
    return names


MODELS = [
    {"trunk": "small"},
    {"trunk": "pico", "q_heads": 2, "head_layers": 2, "target_q": True},
    {"trunk": "small", "q_heads": 0},
    {"trunk": "BASE", "dueling": True},
    {"trunk": "BASE", "lora": 2},
]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("settings", MODELS, ids=str)
def test_the_model_card_computes_the_logits_v_and_q_of_the_agent(
    settings: dict[str, Any], tied: bool, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.model.build.LARGE_VOCABULARY", 1 if tied else 10**6)
    folder = agent_folder(tmp_path / "run", **settings | {"trunk": settings["trunk"].replace("BASE", str(base))})
    model, tokens, hidden = ours(folder)
    adapters = [False, True] if "lora" in settings else [False]
    for adapter in adapters:
        export.export_agent(folder, to := tmp_path / f"adapter-{adapter}", adapter=adapter)
        found = run_model_card(to, monkeypatch)
        assert found["inputs"]["input_ids"].tolist() == tokens.tolist()
        with torch.no_grad():
            assert_close(found["model"](tokens).logits[0].log_softmax(-1), model.all_logprobs(hidden))
            assert_close(found["v"][0, :, 0], model.heads.values(hidden))
            ids = torch.arange(model.vocabulary)
            heads = model.evaluate_heads(hidden, ids.expand(len(hidden), -1))
        if heads.q_values is not None:
            for index, q in enumerate(found["q"]):
                assert_close(q[0], heads.q_values[:, :, index], within=2e-4)
        card = (to / "README.md").read_text()
        assert ("Q head" in card, " q " in card) == ((heads.q_values is not None,) * 2)
        assert ("def body" in card) == (settings.get("head_layers") == 2)
        described = HeadsFile.model_validate_json((to / "heads.json").read_text())
        assert described.tied == (tied and described.q_heads > 0)
        assert described.q_heads == (0 if heads.q_values is None else heads.q_values.shape[2])


def test_an_adapter_of_a_bfloat16_trunk_is_merged_without_rounding(base: Path, tmp_path: Path) -> None:
    folder = agent_folder(tmp_path / "run", trunk=str(base), lora=2, dtype="bfloat16")
    export.export_agent(folder, tmp_path / "out")
    exported = load_pretrained(str(tmp_path / "out"))[0].state_dict()
    trunk = load_agent(folder).model.lm
    merged = trunk.float().merge_and_unload().state_dict()
    assert {x.dtype for x in exported.values()} == {torch.float32}
    assert all(torch.equal(exported[name], merged[name]) for name in merged)


def test_an_export_can_be_trained_further(base: Path, tmp_path: Path) -> None:
    folder = agent_folder(tmp_path / "run", trunk=str(base), lora=2)
    export.export_agent(folder, tmp_path / "out")
    _, tokens, hidden = ours(folder)
    again = assemble(ModelConfig(trunk=str(tmp_path / "out")), None)[0].eval()
    with torch.no_grad():
        assert_close(again.hidden_states(tokens, use_cache=False)[0], hidden)


def test_the_sampling_is_that_of_the_policy(tmp_path: Path) -> None:
    export.export_agent(agent_folder(tmp_path / "run", trunk="small"), tmp_path / "out")
    stored = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert (stored["do_sample"], stored["top_k"], stored["temperature"], stored["top_p"]) == (True, 0, 1.0, 1.0)
    assert stored["eos_token_id"] == [0, 1, 2]


def test_the_model_card_names_optimizer_game_seed_and_licence(base: Path, tmp_path: Path) -> None:
    export.export_agent(agent_folder(tmp_path / "run", trunk=str(base), lora=2), tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "The optimizer `ppo` trained a LoRA adapter of rank 2, from pretrained weights." in card
    assert "Game: `bandit`. Seed: 3." in card
    assert f"The licence of the base model `{base}` applies" in card


def test_nothing_is_written_if_the_export_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> str:
        raise OSError(28, "No space left on device")

    folder = agent_folder(tmp_path / "run", trunk="small")
    monkeypatch.setattr(export, "model_card", fail)
    with pytest.raises(OSError, match="No space"):
        export.export_agent(folder, tmp_path / "out")
    assert file_names(tmp_path) == ["run"]


def test_an_existing_folder_is_refused(tmp_path: Path) -> None:
    folder = agent_folder(tmp_path / "run", trunk="small")
    (tmp_path / "out").mkdir()
    with pytest.raises(AgentError, match=r"out already exists; choose another --to$"):
        export.export_agent(folder, tmp_path / "out")
    assert file_names(tmp_path) == ["out", "run"] and not file_names(tmp_path / "out")


def test_only_an_adapter_can_be_exported_as_one(tmp_path: Path) -> None:
    folder = agent_folder(tmp_path / "run", trunk="small")
    with pytest.raises(AgentError, match=r"run has no adapter, .*; leave out --adapter$"):
        export.export_agent(folder, tmp_path / "out", adapter=True)
    assert file_names(tmp_path) == ["run"]


def test_a_run_finds_its_base_model_from_any_folder(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = agent_folder(tmp_path / "run", trunk="base", lora=2)
    assert json.loads((folder / AGENT).read_text())["model"]["trunk"] == str(base)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    load_agent(folder)


def test_a_missing_base_model_is_named(base: Path, tmp_path: Path) -> None:
    folder = agent_folder(tmp_path / "run", trunk=str(base), lora=2)
    base.rename(tmp_path / "moved")
    with pytest.raises(AgentError) as failure:
        load_agent(folder)
    assert str(failure.value).startswith(f"{folder} is an adapter of the model {str(base)!r}: no pretrained model")
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("name", ["pico", "small", "smollm2", "nobody/nothing"])
def test_names_of_trunks_are_kept(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("pico", "small", "smollm2"):
        (tmp_path / folder).mkdir()
    assert ModelConfig(trunk=name).trunk == name
