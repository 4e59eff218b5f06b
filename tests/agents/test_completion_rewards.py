"""Rewards that are models: `rm:` and `hf:` terms load local folders, score in batches and fail in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
)

import games
from agents import completion_rewards
from agents.completion_rewards import load_scorer, scorer
from agents.config import ModelConfig, TrainConfig
from agents.model.build import assemble
from agents.model.classifier import load_classifier
from agents.play.baselines import RandomAgent
from agents.play.runner import EpisodeRunner
from agents.training.factory import make_trainer
from agents.training.reward_model import RewardModel, save_reward_model
from games import GameError
from games.code_import import import_name
from games.completion import parse_reward
from tests.helpers.models import tokenizer
from tests.helpers.preferences import save_trunk

PROMPTS, TEXTS = ["you see a", "go", "take the"], [" lamp", " north south", " red key"]
SIZES: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def save_classifier(folder: Path, *, labels: int, decoder: bool = False, pad: bool = True, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    words = tokenizer()
    if not pad:
        words.pad_token = None
    sizes = {**SIZES, "vocab_size": len(words), "num_labels": labels, "initializer_range": 0.5}
    special = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
    model = (
        LlamaForSequenceClassification(LlamaConfig(**sizes, **special))
        if decoder
        else BertForSequenceClassification(BertConfig(**sizes, max_position_embeddings=12))
    )
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def save_rm(folder: Path, trunk: Path, *, seed: int = 0) -> Path:
    config = ModelConfig(trunk=str(trunk), lora=2, q_heads=0)
    torch.manual_seed(seed)
    reward_model = RewardModel(*assemble(config, None))
    torch.nn.init.normal_(reward_model.model.heads.value.out.weight)
    save_reward_model(folder, reward_model, config, {})
    return folder


@pytest.mark.parametrize("decoder", [False, True])
@pytest.mark.parametrize("labels", [1, 2, 3])
def test_a_classifier_scores_with_its_output_or_the_probability_of_its_last_label(
    tmp_path: Path, labels: int, decoder: bool
) -> None:
    classifier = load_classifier(save_classifier(tmp_path / "hf", labels=labels, decoder=decoder))
    scores = scorer(f"hf:{tmp_path / 'hf'}")(PROMPTS, TEXTS)
    expected = []
    for prompt, text in zip(PROMPTS, TEXTS, strict=True):
        tokens = classifier.tokenizer(prompt + text, return_tensors="pt").input_ids
        with torch.no_grad():
            logits = classifier.model(input_ids=tokens).logits[0]
        expected.append(float(logits[0] if labels == 1 else logits.softmax(0)[-1]))
    assert scores == pytest.approx(expected, abs=1e-5)
    assert len(set(scores)) == 3


def test_a_classifier_without_a_padding_token_scores_one_text_at_a_time(tmp_path: Path) -> None:
    padded, single = (
        load_classifier(save_classifier(tmp_path / name, labels=2, decoder=True, pad=name == "padded"))
        for name in ("padded", "single")
    )
    assert (padded.batch, single.batch) == (32, 1)
    assert single(PROMPTS, TEXTS) == pytest.approx(padded(PROMPTS, TEXTS), abs=1e-5)


def test_a_classifier_reads_the_last_tokens_of_a_long_text(tmp_path: Path) -> None:
    classifier = load_classifier(save_classifier(tmp_path / "hf", labels=2))
    long = classifier(["go " * 40, "see " * 40], [" red key" * 6, " red key" * 6])
    assert long[0] == pytest.approx(long[1])
    assert long[0] == pytest.approx(classifier([""], [" red key" * 6])[0])


def test_models_are_loaded_once_without_random_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_rm(tmp_path / "rm", save_trunk(tmp_path / "trunk"))
    save_classifier(tmp_path / "hf", labels=1)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    for kind in ("rm", "hf"):
        first, again = (load_scorer(parse_reward(f"{kind}:{name}")[0]) for name in (kind, tmp_path / kind))
        assert first is again
    assert torch.equal(torch.rand(4), expected)
    both = scorer(f"rm:{tmp_path}/rm*2,hf:{tmp_path}/hf,length")(PROMPTS, TEXTS)
    rm, hf = (scorer(f"{kind}:{tmp_path}/{kind}")(PROMPTS, TEXTS) for kind in ("rm", "hf"))
    assert both == pytest.approx([2 * a + b + n for a, b, n in zip(rm, hf, (1, 2, 2), strict=True)])


@pytest.mark.parametrize("kind", ["rm", "hf"])
def test_a_model_that_changes_is_loaded_again(tmp_path: Path, kind: str) -> None:
    folder, trunk = tmp_path / kind, save_trunk(tmp_path / "trunk")

    def save(seed: int) -> None:
        save_rm(folder, trunk, seed=seed) if kind == "rm" else save_classifier(folder, labels=1, seed=seed)

    save(0)
    first = scorer(f"{kind}:{folder}")(PROMPTS, TEXTS)
    save(1)
    assert scorer(f"{kind}:{folder}")(PROMPTS, TEXTS) != pytest.approx(first)
    save(0)
    assert scorer(f"{kind}:{folder}")(PROMPTS, TEXTS) == first


def _cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _headless(folder: Path) -> None:
    BertForMaskedLM(BertConfig(**SIZES, vocab_size=len(tokenizer()))).save_pretrained(folder)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_cut, "cannot load"),
        (_headless, "are incomplete: bert.pooler.dense.bias"),
        (lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"), "no weights in the safe"),
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot load"),
    ],
)
def test_a_damaged_classifier_is_refused_in_one_line(
    tmp_path: Path, damage: Callable[[Path], object], says: str
) -> None:
    damage(save_classifier(tmp_path / "hf", labels=2))
    with pytest.raises(GameError, match=f"reward hf:{tmp_path}/hf: .*{says}") as caught:
        scorer(f"hf:{tmp_path}/hf")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("folder", "says"),
    [("nowhere", "no such folder"), ("file", "this is a file; expected a folder"), ("empty", "holds no checkpoint")],
)
def test_a_run_with_a_missing_reward_model_is_refused_before_it_starts(tmp_path: Path, folder: str, says: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    game = f"completion?reward=rm:{tmp_path / folder}"
    config = TrainConfig.from_flat({"game": game, "trunk": "pico", "mode": "free"})
    with pytest.raises(GameError, match=f"reward rm:.*{says}") as caught:
        make_trainer(config, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("model", "sizes"), [("", [1, 1, 1, 1]), (",rm:F", [2, 2])])
def test_a_function_is_called_with_one_text_or_beside_a_model_with_all_of_a_turn(
    model: str, sizes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(
        "sizes = []\ndef score(p, c):\n    sizes.append(len(c))\n    return [1.0] * len(c)\n"
    )
    monkeypatch.setattr(completion_rewards, "load_scorer", lambda term: lambda p, c: [0.0] * len(c))
    game = f"completion?choices=a,b&reward={tmp_path}/mine.py:score{model}"
    with EpisodeRunner(games.resolve(game), seed=0, parallel=2) as runner:
        episodes = list(runner.play(RandomAgent(seed=0), 4))
    assert [episode.reward for episode in episodes] == [1.0] * 4
    assert import_name(f"{tmp_path}/mine.py:score", "function").__globals__["sizes"] == sizes
