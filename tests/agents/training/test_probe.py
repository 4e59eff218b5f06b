"""Probes: measures that are computed by hand on a tabular policy, always with the same random numbers."""

import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents.config import TrainConfig, UpdateConfig
from agents.model.actor_critic import ActorCritic
from agents.model.heads import QHead
from agents.play.runner import EpisodeRunner
from agents.play.text_measures import self_bleu
from agents.protocol import AgentError
from agents.storage.run_folder import PROBES, read_metrics
from agents.training import probe
from agents.training.factory import make_trainer
from agents.training.probe import Probe
from agents.training.reference import ReferencePolicy
from games import GameError, resolve
from tests.agents.training.test_trainer import assert_same_run
from tests.helpers.models import agent, bigram_model, tokenizer
from tests.helpers.preferences import save_trunk

END = "[END]"
Rows = Mapping[str, Mapping[str, float]]
"""The probabilities of the next words after each word."""
POLICY: Rows = {
    "a": {"red": 0.5, "blue": 0.25, "key": 0.25},
    "see": {"lamp": 0.8, "key": 0.2},
    "go": {"north": 0.9, "south": 0.1},
    "red": {"key": 0.5, "lamp": 0.5},
    "blue": {"key": 1.0},
    "key": {END: 0.75, "red": 0.25},
    "lamp": {END: 0.5, "key": 0.5},
    "north": {END: 0.5, "north": 0.5},
    "south": {END: 1.0},
}
INITIAL: Rows = {**POLICY, "a": {"red": 0.2, "blue": 0.4, "key": 0.4}, "north": {END: 0.9, "north": 0.1}}
PROMPTS = ("you see a", "you see", "you go", "drop a", "see", "go")
GAME = "completion?reward=length&max_tokens=3"


def tabular(rows: Rows) -> ActorCritic:
    words = tokenizer().get_vocab()
    logits = torch.full((len(words), len(words)), -60.0)
    for before, row in rows.items():
        for word, share in row.items():
            logits[words[before], words[word]] = math.log(share)
    return bigram_model(logits)


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS) + "\n")
    return str(tmp_path / "prompts.txt")


def probe_of(prompts: str, *, seed: int = 0, game: str = GAME, judge: str = "", mode: Any = "free") -> Probe:
    model, initial = tabular(POLICY), tabular(INITIAL)
    reference = ReferencePolicy(model, initial, UpdateConfig(micro_batch_tokens=8))
    return Probe(game, prompts, judge, agent=agent(model, mode=mode), reference=reference, seed=seed)


def transitions(prompt: str, text: str) -> list[tuple[str, str]]:
    """Return the policy's choices in a text as pairs of words: the word before, and the chosen word."""
    words = text.split()
    return list(pairwise([prompt.split()[-1], *words, *([END] if len(words) < 3 else [])]))


def test_the_measures_equal_those_computed_by_hand(prompts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PARALLEL", 2)  # texts do not end in the order of their prompts
    row = probe_of(prompts, judge="letter:k").measure()
    texts = [text.split() for text in row["texts"]]
    written = [transitions(prompt, text) for prompt, text in zip(PROMPTS, row["texts"], strict=True)]
    assert all(POLICY[before].get(word) for choices in written for before, word in choices)
    choices = [choice for text in written for choice in text]
    assert len({len(text) for text in written}) > 1 and len({before for before, _ in choices}) > 4

    entropy = [-sum(p * math.log(p) for p in POLICY[before].values()) for before, _ in choices]
    kl = [sum(p * math.log(p / INITIAL[before][w]) for w, p in POLICY[before].items()) for before, _ in choices]
    surprise = [-math.log(INITIAL[before][word]) for before, word in choices]
    assert row["entropy"] == pytest.approx(np.mean(entropy), rel=1e-5)
    assert row["kl"] == pytest.approx(np.mean(kl), rel=1e-5)
    assert row["kl_text"] == pytest.approx(sum(kl) / len(PROMPTS), rel=1e-5)
    assert row["perplexity"] == pytest.approx(math.exp(np.mean(surprise)), rel=1e-5)

    words, pairs = [w for text in texts for w in text], [pair for text in texts for pair in pairwise(text)]
    assert row["reward"] == row["words"] == pytest.approx(len(words) / len(texts))
    assert row["true_reward"] == pytest.approx(np.mean([text.count("key") / len(text) for text in texts]))
    assert row["distinct_1"] == pytest.approx(len(set(words)) / len(words))
    assert row["distinct_2"] == pytest.approx(len(set(pairs)) / len(pairs))
    assert row["self_bleu"] == self_bleu(row["texts"])
    assert len(set(words)) < len(words) and len(set(pairs)) < len(pairs)


def test_the_policy_that_has_not_moved_has_no_kl(prompts: str) -> None:
    moved = probe_of(prompts)
    moved.reference = ReferencePolicy(moved.agent.model, tabular(POLICY), UpdateConfig())
    row = moved.measure()
    assert (row["kl"], row["kl_text"]) == pytest.approx((0.0, 0.0), abs=1e-6)
    assert "true_reward" not in row


def test_the_kl_of_a_guided_policy_is_that_of_its_own_texts(tmp_path: Path) -> None:
    """pi_0 gives north the probability 0.9, and guidance by q raises it to 1, so the KL is -log 0.9."""
    (tmp_path / "go.txt").write_text("you go\ngo\n")
    model = tabular(POLICY)
    words, head = tokenizer().get_vocab(), next(iter(model.heads.q.children()))
    assert isinstance(head, QHead) and isinstance(head.out, torch.nn.Linear)
    with torch.no_grad():
        head.out.weight[words["north"], words["go"]] = 30.0
    reference = ReferencePolicy(model, tabular(POLICY).requires_grad_(False), UpdateConfig())
    game, file = "completion?reward=length&max_tokens=1", str(tmp_path / "go.txt")
    plain, guided = (
        Probe(game, file, "", agent=agent(model, mode="free", guide_beta=beta), reference=reference, seed=0).measure()
        for beta in (0.0, 1.0)
    )
    assert plain["kl"] == pytest.approx(0.0, abs=1e-5)
    assert guided["texts"] == ["north", "north"]
    assert guided["kl"] == pytest.approx(-math.log(0.9), abs=1e-4)


def test_the_choices_of_admissible_texts_are_measured(prompts: str) -> None:
    row = probe_of(prompts, game=f"{GAME}&choices= red, blue", mode="trie").measure()
    assert set(row["texts"]) <= {" red", " blue"}
    offered = [prompt.split()[-1] == "a" for prompt in PROMPTS]  # elsewhere, both texts have the same tiny probability
    # pi(red) and pi(blue) are 2/3 and 1/3, and 1/3 and 2/3 in the initial policy
    kl, entropy = math.log(2) / 3, math.log(3) - 2 / 3 * math.log(2)
    assert row["kl"] == pytest.approx(kl * np.mean(offered), rel=1e-4)
    assert row["entropy"] == pytest.approx(np.mean([entropy if a else math.log(2) for a in offered]), rel=1e-4)


def test_every_probe_draws_the_same_random_numbers(prompts: str) -> None:
    first = probe_of(prompts)
    once = first.measure()
    with EpisodeRunner(resolve(GAME), seed=1) as runner:
        list(runner.play(first.agent, 5))  # the probe's agent has a stream of random numbers for each episode
    first.agent.take_segments()
    torch.rand(3)
    assert first.measure() == once == probe_of(prompts).measure()
    assert probe_of(prompts, seed=1).measure()["texts"] != once["texts"]


@pytest.mark.parametrize("lora", [0, 2])
def test_probes_do_not_change_the_training(prompts: str, tmp_path: Path, lora: int) -> None:
    """Weights, moments, metrics, transcripts and the state of the random numbers are equal bit by bit."""
    settings = {"game": GAME, "trunk": str(save_trunk(tmp_path / "trunk")), "mode": "free", "lora": lora, "lr": 0.02}
    settings |= {"dropout": 0.2 if lora else 0.0, "rollout_dropout": bool(lora), "gamma": 1.0, "kl_coef": 0.02}
    settings |= {"episodes": 4, "parallel": 4, "minibatches": 2, "epochs": 2, "iterations": 3, "reward_scale": 0.1}
    config = TrainConfig.from_flat(settings)
    list(make_trainer(config, tmp_path / "plain").run())
    probed = config.replace(probe_prompts=prompts, probe_every=1, judge="sentiment")
    list(make_trainer(probed, tmp_path / "probed").run())
    assert_same_run(tmp_path / "probed", tmp_path / "plain")
    rows = read_metrics(tmp_path / "probed", PROBES)
    assert [row["iteration"] for row in rows] == [0, 1, 2, 3]
    assert rows[0]["kl"] == pytest.approx(0.0, abs=1e-6) and rows[3]["kl"] > 1e-3


def test_a_run_that_was_killed_during_its_first_probe_is_resumed(prompts: str, tmp_path: Path) -> None:
    settings = {"game": GAME, "trunk": str(save_trunk(tmp_path / "trunk")), "mode": "free", "episodes": 2}
    config = TrainConfig.from_flat(settings | {"iterations": 1, "probe_prompts": prompts})
    make_trainer(config, tmp_path / "run").folder.unlock()
    (tmp_path / "run" / PROBES).write_text('{"iteration": 0, "rew')
    list(make_trainer(config, tmp_path / "run", resume=True).run())
    assert [row["iteration"] for row in read_metrics(tmp_path / "run", PROBES)] == [0, 1]


def test_dropout_is_off_in_probes_and_on_again_afterwards(prompts: str) -> None:
    measured = probe_of(prompts)
    model = measured.agent.model.train()
    seen, decoder = list[bool](), model.lm.get_decoder()

    def decode(**inputs: Any) -> Any:
        seen.append(model.training)
        return decoder(**inputs)

    model.lm.get_decoder = lambda: decode
    measured.measure()
    assert seen and not any(seen) and model.training


@pytest.mark.parametrize(
    ("game", "source", "judge", "error", "says"),
    [
        ("bandit", "heldout", "", AgentError, "--probe-prompts needs one completion game, got bandit"),
        (f"{GAME} + {GAME}&newlines=true", "heldout", "", AgentError, "--probe-prompts needs one completion game"),
        (GAME, "held-out", "", GameError, r"--probe-prompts held-out: .*did you mean"),
        (GAME, "heldout", "lenght", GameError, "no reward is called 'lenght'"),
    ],
)
def test_mistakes_are_found_before_the_first_probe(
    game: str, source: str, judge: str, error: type[ValueError], says: str
) -> None:
    with pytest.raises(error, match=says):
        probe_of(source, game=game, judge=judge)
