"""The reference policy: its log-probabilities and the exact KL of every choice, and which policy it is."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

import games
from agents.config import ModelConfig, TrainConfig, UpdateConfig
from agents.language_model.agent import LanguageModelAgent
from agents.language_model.token_stream import Segment
from agents.model.actor_critic import ActorCritic
from agents.model.build import assemble
from agents.play.runner import EpisodeRunner
from agents.storage.checkpoint import load_agent
from agents.storage.checkpoint_files import INITIAL
from agents.training.factory import make_trainer
from agents.training.reference import ReferencePolicy
from agents.training.rollout_batch import RolloutBatch
from tests.helpers.models import agent, assert_close, tiny_model
from tests.helpers.preferences import save_trunk
from tests.helpers.updates import rollout_of

TEXTS = "completion?reward=length&max_tokens=4"


def written(player: LanguageModelAgent, episodes: int = 5) -> RolloutBatch:
    """Return a rollout of texts of different lengths, so that micro-batches reorder them."""
    with EpisodeRunner(games.resolve(TEXTS), seed=3, parallel=3) as runner:
        list(runner.play(player, episodes))
    return RolloutBatch(player.take_segments(), credit="token")


def logprobs(model: ActorCritic, segments: Sequence[Segment]) -> list[Tensor]:
    """Return log pi over the alternatives of each choice, from the logits that `transformers` computes."""
    rows = []
    for segment in segments:
        with torch.no_grad():
            logits = model.lm(input_ids=torch.from_numpy(segment.tokens)[None]).logits[0].double()
        for choice in segment.choices:
            offered = slice(None) if segment.whole_vocabulary else list(choice.alternatives)
            rows.append(logits[choice.position, offered].log_softmax(-1))
    return rows


def assert_exact(policy: ReferencePolicy, rollout: RolloutBatch, model: ActorCritic, reference: ActorCritic) -> Tensor:
    """Assert log pi_ref and the KL of every choice. Return the KL."""
    policy.evaluate(rollout)
    assert rollout.ref_logprobs is not None
    choices = [choice for segment in rollout.segments for choice in segment.choices]
    ours, theirs = logprobs(model, rollout.segments), logprobs(reference, rollout.segments)
    free = rollout.segments[0].whole_vocabulary
    chosen = [row[c.alternatives[0] if free else c.chosen] for row, c in zip(theirs, choices, strict=True)]
    assert_close(rollout.chosen_reference.double(), torch.stack(chosen))
    expected = torch.stack([(p.exp() * (p - r)).sum() for p, r in zip(ours, theirs, strict=True)])
    found = policy.kl(rollout)
    assert_close(found.double(), expected)
    return found


@pytest.mark.parametrize("budget", [1, 24, 4096])
@pytest.mark.parametrize("free", [True, False])
def test_every_choice_has_its_own_kl_to_a_frozen_copy(free: bool, budget: int) -> None:
    model, copy = tiny_model(), tiny_model(seed=7)
    rollout = written(agent(model, mode="free")) if free else rollout_of(model)
    kl = assert_exact(ReferencePolicy(model, copy, UpdateConfig(micro_batch_tokens=budget)), rollout, model, copy)
    assert len(set(kl.tolist())) > 5


@pytest.mark.parametrize("free", [True, False])
def test_the_reference_of_an_adapter_is_the_trunk_below_it(free: bool, tmp_path: Path) -> None:
    trunk = str(save_trunk(tmp_path / "trunk"))
    model, bare = (assemble(ModelConfig(trunk=trunk, lora=lora), None)[0].eval() for lora in (2, 0))
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    rollout = written(agent(model, mode="free")) if free else rollout_of(model)
    kl = assert_exact(ReferencePolicy(model, None, UpdateConfig(micro_batch_tokens=24)), rollout, model, bare)
    assert kl.mean() > 0.01


def test_reading_keeps_dropout_and_random_numbers(tmp_path: Path) -> None:
    model, copy = tiny_model("gpt2", dropout=0.5), tiny_model("gpt2", dropout=0.5)
    rollout = written(agent(model, mode="free"))
    model.train()
    copy.train()
    before = torch.get_rng_state()
    policy = ReferencePolicy(model, copy, UpdateConfig())
    policy.evaluate(rollout)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training and copy.training
    assert rollout.ref_logprobs is not None
    chosen = [choice.alternatives[0] for segment in rollout.segments for choice in segment.choices]
    rows = zip(logprobs(copy.eval(), rollout.segments), chosen, strict=True)
    assert_close(rollout.ref_logprobs[:, 0].double(), torch.stack([row[token] for row, token in rows]))


@pytest.mark.parametrize("init", [False, True])
@pytest.mark.parametrize("lora", [0, 2])
def test_the_reference_of_a_resumed_run_is_its_initial_policy(tmp_path: Path, lora: int, init: bool) -> None:
    """The trainer's reference is compared with the folder of the initial policy, also after a warm start."""
    trunk = str(save_trunk(tmp_path / "trunk"))
    config = TrainConfig.from_flat(
        {"game": TEXTS, "trunk": trunk, "mode": "free", "lora": lora, "episodes": 4, "parallel": 4, "lr": 0.03}
        | {"kl_coef": 0.01, "gamma": 1.0, "reward_scale": 0.1, "iterations": 1}
    )
    if init:
        list(make_trainer(config, tmp_path / "first").run())
        config = config.replace(init=str(tmp_path / "first"))
    list(make_trainer(config, tmp_path / "run").run())
    trainer = make_trainer(config.replace(iterations=2), tmp_path / "run", resume=True)
    model, initial = trainer.updater.model.eval(), load_agent(tmp_path / "run" / INITIAL).model
    rollout = written(trainer.agent)
    kl = assert_exact(trainer.updater.reference, rollout, model, initial)
    assert kl.mean() > 1e-3
    if init:
        untrained = load_agent(tmp_path / "first" / INITIAL).model
        before, after = (torch.cat(logprobs(policy, rollout.segments)) for policy in (untrained, initial))
        assert not torch.allclose(before, after)
    trainer.runner.close()
    trainer.folder.unlock()
