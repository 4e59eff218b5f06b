"""Reward models score texts alike in any batch, and their folders are complete or refused in one line."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from agents.config import ModelConfig
from agents.model.actor_critic import ActorCritic
from agents.model.build import assemble
from agents.model.packed_attention import can_pack
from agents.model.prefix_tree import PrefixTree, sharing_pays
from agents.protocol import AgentError
from agents.storage.checkpoint import load_agent, save_agent
from agents.training.reward_model import (
    RewardModel,
    check_folder,
    load_reward_model,
    save_reward_model,
)
from agents.training.reward_training import bradley_terry_loss
from tests.helpers.models import tiny_model, tokenizer
from tests.helpers.preferences import save_trunk

PROMPTS = ["you see a", "go", "take the red key", "you see a"]
TEXTS = [" lamp", " north south north south", "", " key red"]


@pytest.fixture(scope="module")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_trunk(tmp_path_factory.mktemp("trunk")))


@pytest.fixture(params=[2, 0], ids=["adapter", "whole"])
def saved(request: pytest.FixtureRequest, trunk: str, tmp_path: Path) -> tuple[RewardModel, Path]:
    """A reward model with random weights, and its folder."""
    config = ModelConfig(trunk=trunk, lora=request.param, q_heads=0)
    reward_model = RewardModel(*assemble(config, None))
    for parameter in reward_model.model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    reward_model.model.eval()
    save_reward_model(tmp_path / "rm", reward_model, config, {"pairs": 3})
    return reward_model, tmp_path / "rm"


def test_a_loaded_model_gives_identical_scores(saved: tuple[RewardModel, Path]) -> None:
    reward_model, folder = saved
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    loaded = load_reward_model(folder)
    assert torch.equal(torch.rand(4), expected), "loading must not change the random numbers of a run"
    scores = loaded(PROMPTS, TEXTS)
    assert scores == reward_model(PROMPTS, TEXTS)
    assert len(set(scores)) == len(scores)
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())


def test_scores_do_not_depend_on_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    reward_model = RewardModel(tiny_model(q_heads=0), tokenizer())
    together = reward_model(PROMPTS, TEXTS)
    alone = [reward_model([prompt], [text])[0] for prompt, text in zip(PROMPTS, TEXTS, strict=True)]
    assert together == pytest.approx(alone, abs=1e-5)
    monkeypatch.setattr("agents.training.reward_model.MICRO_BATCH_TOKENS", 1)
    assert reward_model(PROMPTS, TEXTS) == pytest.approx(alone, abs=1e-5)
    assert reward_model([], []) == []


def test_a_text_is_its_prompt_its_completion_and_an_end_token() -> None:
    words = tokenizer()
    reward_model = RewardModel(tiny_model(q_heads=0, positions=16), words)

    def encoded(prompt: str, completion: str) -> tuple[list[str], int]:
        text = reward_model.encode(prompt, completion)
        return words.convert_ids_to_tokens(text.tokens), text.completion_length

    assert encoded("go north", " a [END]") == (["go", "north", "a", "[", "[UNK]", "]", "[END]"], 5)
    assert encoded("go", "") == (["go", "[END]"], 1)
    assert encoded("go " * 40, " key") == (["go"] * 14 + ["key", "[END]"], 2), "the last tokens are kept"
    assert encoded("go", " key" * 40) == (["key"] * 15 + ["[END]"], 16)
    words.eos_token = None
    assert encoded("go", "") == (["go", "\n"], 1)


def test_a_reward_is_the_mean_of_the_heads_outputs_after_the_prompt() -> None:
    reward_model = RewardModel(tiny_model(q_heads=0), tokenizer())
    (reward,) = reward_model(["you see a"], [" red key"])
    model, tokens = reward_model.model, reward_model.encode("you see a", " red key").tokens
    values = model.heads.values(model.hidden_states(torch.from_numpy(tokens)[None], use_cache=False))[0]
    assert len(values) == 6
    assert reward == pytest.approx(values[3:].mean().item(), abs=1e-6)


def test_the_prompt_of_many_completions_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reward_model = RewardModel(tiny_model(q_heads=0), tokenizer())
    texts = [" key", " red key", "", " key red key", " north", " a"]
    prompts = len(texts) * ["you see a red key " * 3]
    read: list[int] = []
    hidden_states = ActorCritic.hidden_states

    def counted(model: ActorCritic, tokens: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        read.append(tokens.numel())
        return hidden_states(model, tokens, **kwargs)

    reward_model(prompts, texts)  # checks once whether the trunk can share prefixes
    monkeypatch.setattr(ActorCritic, "hidden_states", counted)
    shared = reward_model(prompts, texts)
    assert read == [15 + 2 + 3 + 1 + 3 + 2 + 2], (
        "the prompt, and the completions, of which two begin with the same word"
    )
    monkeypatch.setattr("agents.training.reward_model.can_pack", lambda model: False)
    assert reward_model(prompts, texts) == pytest.approx(shared, abs=1e-5)
    assert sum(read[1:]) > 6 * 15


def test_shared_prompts_have_the_gradient_of_separate_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    reward_model = RewardModel(tiny_model(q_heads=0).train(), tokenizer())
    texts = [reward_model.encode("you see a red key " * 3, text) for text in [" key", " red key", " north", " red a"]]
    tree = PrefixTree.of([text.tokens for text in texts])
    assert sharing_pays([text.tokens for text in texts], len(tree.tokens)) and can_pack(reward_model.model)

    def gradients() -> dict[str, torch.Tensor]:
        reward_model.model.zero_grad()
        bradley_terry_loss(*reward_model.rewards(texts).chunk(2)).sum().backward()  # type: ignore[no-untyped-call]
        named = reward_model.model.named_parameters()
        return {name: parameter.grad.clone() for name, parameter in named if parameter.grad is not None}

    shared = gradients()
    monkeypatch.setattr("agents.training.reward_model.can_pack", lambda model: False)
    separate = gradients()
    assert shared.keys() == separate.keys() and len(shared) > 10
    for name, gradient in separate.items():
        assert (shared[name] - gradient).norm() <= 1e-5 * gradient.norm(), name


@pytest.mark.parametrize("saved", [2], indirect=True)
@pytest.mark.parametrize("name", ["agent.json", "model.safetensors", "tokenizer.json"])
def test_a_damaged_folder_is_refused_in_one_line(saved: tuple[RewardModel, Path], name: str) -> None:
    folder = saved[1]
    path = folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(AgentError, match=rf"{name} is (damaged|not)") as caught:
        load_reward_model(folder)
    assert "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(AgentError, match=name):
        load_reward_model(folder)


@pytest.mark.parametrize("saved", [2], indirect=True)
def test_a_reward_model_is_no_agent_and_an_agent_no_reward_model(
    saved: tuple[RewardModel, Path], tmp_path: Path
) -> None:
    with pytest.raises(AgentError, match="holds a model of the kind 'reward model', not 'agent'"):
        load_agent(saved[1])
    config = ModelConfig(trunk="pico", q_heads=0)
    about = {"name": "player", "prompt": "plain", "mode": "trie", "context": 64}
    save_agent(tmp_path / "agent", *assemble(config, ["a b"]), config, about)
    with pytest.raises(AgentError, match="holds a model of the kind 'agent', not 'reward model'"):
        load_reward_model(tmp_path / "agent")


@pytest.mark.parametrize("saved", [2], indirect=True)
def test_only_a_reward_model_of_an_unfinished_training_is_replaced(
    saved: tuple[RewardModel, Path], tmp_path: Path
) -> None:
    check_folder(saved[1], allow_unfinished=True)
    with pytest.raises(AgentError, match="already holds a reward model; choose another --out"):
        check_folder(saved[1])
    check_folder(tmp_path / "new")
    (tmp_path / "mine").mkdir()
    check_folder(tmp_path / "mine")
    (tmp_path / "mine" / "thesis.txt").write_text("important")
    with pytest.raises(AgentError, match="holds other files"):
        check_folder(tmp_path / "mine")
    with pytest.raises(AgentError, match="is a file"):
        check_folder(tmp_path / "mine" / "thesis.txt")
    copy = Path(shutil.copytree(saved[1], tmp_path / "copy"))
    (copy / "agent.json").write_text("{}")
    with pytest.raises(AgentError, match="holds other files"):
        check_folder(copy, allow_unfinished=True)
