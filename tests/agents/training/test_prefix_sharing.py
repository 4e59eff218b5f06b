"""An update that shares prefixes has the gradients and measures of separate streams."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from actde import OptimizerConfig, optimizer_names
from agents.config import ModelConfig, UpdateConfig
from agents.model import packed_attention, prefix_tree
from agents.model.actor_critic import ActorCritic
from agents.model.build import assemble
from agents.model.cpu_attention import use_blockwise_attention
from agents.model.heads import Heads
from agents.training.reference import ReferencePolicy
from agents.training.rollout_batch import MicroBatch, RolloutBatch
from experiments.decoders.architectures import WINDOW, tiny_decoder
from tests.helpers.models import KINDS, Kind, assert_close, tiny_model
from tests.helpers.preferences import save_trunk
from tests.helpers.processes import finish, start_two
from tests.helpers.random_rollouts import VOCABULARY, random_rollout, segment_of
from tests.helpers.shared_prefixes import work
from tests.helpers.updates import Kept, assert_same_gradients, learn, rollout_of, updater

OFF = "off"


@pytest.fixture(autouse=True)
def any_sharing_suffices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix_tree, "LEAST_SHARING", 1.0)


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Record for every pass of the trunk in an update whether its micro-batch is packed."""
    passes: list[bool] = []
    original = MicroBatch.hidden_states

    def recorded(self: MicroBatch, model: ActorCritic) -> Any:
        passes.append(self.tree is not None)
        return original(self, model)

    with monkeypatch.context() as patched:
        patched.setattr(MicroBatch, "hidden_states", recorded)
        yield passes


def steps(
    model: ActorCritic, rollout: RolloutBatch, name: str = "actde", **settings: Any
) -> tuple[list[dict[str, Tensor]], dict[str, float]]:
    """Return the gradients of each step, and the metrics, of an update in training mode."""
    kept = Kept(model)
    model.train()
    measures = learn(updater(model, name, torch_optimizer=kept, **settings), rollout)
    return kept.steps, measures


def assert_sharing_changes_nothing(
    model: ActorCritic, rollout: RolloutBatch, name: str = "actde", **settings: Any
) -> None:
    ours, measures = steps(model, rollout, name, **settings)
    theirs, plain = steps(model, rollout, name, **(settings | {"prefix_sharing": OFF}))
    for one, other in zip(ours, theirs, strict=True):
        assert_same_gradients(one, other)
    assert measures.pop("prefix_sharing") > 1 and plain.pop("prefix_sharing") == 1
    assert measures == pytest.approx(plain, rel=1e-4, abs=1e-5)


# -- the same gradients ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("credit", ["token", "command"])
@pytest.mark.parametrize("budget", [1, 60, 100, 4096])
@pytest.mark.parametrize("block", [11, 256])
def test_any_budget(kind: Kind, credit: str, budget: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_attention, "BLOCK", block)
    model, rollout = tiny_model(kind), random_rollout(credit=credit)
    whole, plain = steps(model, rollout, prefix_sharing=OFF)
    parts, measures = steps(model, rollout, micro_batch_tokens=budget)
    assert_same_gradients(parts[0], whole[0])
    assert (measures.pop("prefix_sharing") > 1) == (budget > 1)
    assert measures == pytest.approx({k: v for k, v in plain.items() if k != "prefix_sharing"}, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", optimizer_names())
@pytest.mark.parametrize("seed", [1, 2])
def test_every_optimizer(name: str, seed: int) -> None:
    rollout = random_rollout(seed, group_size=4)
    learning = OptimizerConfig(gamma=0.9, value_coef=0.5, entropy_coef=0.1, kl_coef=0.2)
    assert_sharing_changes_nothing(
        tiny_model(q_heads=2, target_q=True), rollout, name, learning=learning, reference=tiny_model(seed=7)
    )


@pytest.mark.parametrize("name", ["actde", "ppo", "actde-corrected", "grpo", "mpo"])
def test_free_generation(name: str) -> None:
    rollout = random_rollout(free=True, group_size=4)
    learning = OptimizerConfig(gamma=0.9, entropy_coef=0.1, kl_coef=0.2)
    settings: dict[str, Any] = {"learning": learning, "reference": tiny_model(seed=7), "micro_batch_tokens": 120}
    assert_sharing_changes_nothing(tiny_model(), rollout, name, **settings)


@pytest.mark.parametrize("budget", [100, 4096])
def test_the_lm_loss(budget: int) -> None:
    assert_sharing_changes_nothing(
        tiny_model(), random_rollout(), lm_loss_coef=0.5, lm_loss_tokens=9, micro_batch_tokens=budget
    )


@pytest.mark.parametrize("lora", [0, 2])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_full_weights_and_adapters(lora: int, checkpointing: bool, tmp_path: Path) -> None:
    model, _ = assemble(ModelConfig(trunk=str(save_trunk(tmp_path / "trunk")), lora=lora), None)
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    if checkpointing:
        model.enable_gradient_checkpointing()
    learning = OptimizerConfig(gamma=0.9, kl_coef=0.2)
    reference = None if lora else tiny_model(seed=7, q_heads=0)
    assert_sharing_changes_nothing(model, random_rollout(), learning=learning, reference=reference)


@pytest.mark.parametrize("blockwise", [False, True])
def test_bfloat16(blockwise: bool) -> None:
    """The gradients differ from those in float32 about as much as the gradients of separate streams do."""
    found = []
    for dtype, sharing in ((torch.float32, OFF), (torch.bfloat16, OFF), (torch.bfloat16, "auto")):
        model = tiny_model()
        model.lm.to(dtype)
        if blockwise and dtype == torch.bfloat16:
            use_blockwise_attention(model.lm)
        (gradients,), _ = steps(model, random_rollout(), prefix_sharing=sharing)
        found.append(torch.cat([gradient.float().flatten() for gradient in gradients.values()]))
    exact, separate, shared = found
    assert float((shared - exact).norm()) < 1.5 * float((separate - exact).norm())


@pytest.mark.parametrize("name", ["mistral", "gemma3_text", "llama4"])
@pytest.mark.parametrize("block", [11, 256])
def test_windows_and_chunks_that_are_smaller_than_the_streams(
    name: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_attention, "BLOCK", block)
    model = ActorCritic(tiny_decoder(name, VOCABULARY), Heads(32, VOCABULARY, init_std=0.3), noisy_trunk=False)
    rollout = random_rollout()
    assert max(len(segment.tokens) for segment in rollout.segments) > 2 * WINDOW - 1
    assert_sharing_changes_nothing(model, rollout)


def test_recorded_episodes_and_minibatches() -> None:
    model = tiny_model()
    rollout = rollout_of(model, episodes=9)
    assert_sharing_changes_nothing(model, rollout, minibatches=2, epochs=2)


@pytest.mark.slow
def test_two_processes(tmp_path: Path) -> None:
    """The processes have different trees. Gradients and weights are those of one process with separate streams."""
    workers = start_two(["-m", "tests.helpers.shared_prefixes", "{rank}", "2", str(tmp_path)])
    work(0, 1, tmp_path)
    finish(workers)
    wanted = load_file(tmp_path / "off-0-of-1.safetensors")
    for name in ("auto-0-of-1", "auto-0-of-2", "auto-1-of-2", "off-0-of-2", "off-1-of-2"):
        found = load_file(tmp_path / f"{name}.safetensors")
        sharing = found.pop("sharing")
        assert (sharing > 1) == name.startswith("auto")
        assert found.keys() == wanted.keys() - {"sharing"}
        for key, tensor in found.items():
            assert float((tensor - wanted[key]).norm() / wanted[key].norm().clamp_min(1e-3)) < 1e-5, (name, key)


@pytest.mark.parametrize("free", [False, True])
def test_the_reference_policy(free: bool) -> None:
    model, copy, found = tiny_model(), tiny_model(seed=7), []
    for share in (True, False):
        rollout = random_rollout(free=free)
        policy = ReferencePolicy(
            model, copy, UpdateConfig(micro_batch_tokens=100, prefix_sharing="auto" if share else "off")
        )
        policy.evaluate(rollout)
        found.append((rollout.chosen_reference, policy.kl(rollout)))
    for ours, theirs in zip(*found, strict=True):
        assert_close(ours, theirs)


# -- the layout --------------------------------------------------------------------------------------------------


def test_off_and_dropout_and_different_streams_use_separate_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix_tree, "LEAST_SHARING", 1.2)
    rng = np.random.default_rng(0)
    different = [segment_of(i, rng.integers(0, VOCABULARY, 20), rng, free=False) for i in range(4)]
    for packed, model, rollout, settings in (
        (True, tiny_model(), random_rollout(), {}),
        (False, tiny_model(), random_rollout(), {"prefix_sharing": OFF}),
        (False, tiny_model(dropout=0.1), random_rollout(), {}),
        (False, tiny_model("gpt2", dropout=0.1), random_rollout(), {}),
        (False, tiny_model(), RolloutBatch(different, credit="token"), {}),
    ):
        with counted(monkeypatch) as passes:
            _, measures = steps(model, rollout, **settings)
        assert set(passes) == {packed} and (measures["prefix_sharing"] > 1) == packed


def test_a_packed_micro_batch_has_few_tokens_and_choices() -> None:
    rollout = random_rollout()
    repeated = [replace(segment, episode=n) for n, segment in enumerate(rollout.segments * 10)]
    many = RolloutBatch(repeated, credit="token")
    parts = list(many.micro_batches(range(len(many)), 100, share_prefixes=True))
    assert sorted(row for part in parts for row in part.segments) == list(range(len(many)))
    for part in parts:
        assert part.tokens.numel() <= 100 and len(part.choice_index) <= 100
        assert part.tree is None or part.tokens.shape == (1, len(part.tree.tokens))
    assert any(part.tree for part in parts)


def test_positions_are_located_in_either_layout() -> None:
    rollout = random_rollout()
    rows = np.repeat(np.arange(len(rollout)), 3)
    positions = np.tile([0, 5, 9], len(rollout))
    wanted = [int(rollout.segments[row].tokens[position]) for row, position in zip(rows, positions, strict=True)]
    for packed in (True, False):
        part = rollout.micro_batch(range(len(rollout)), packed=packed)
        assert part.tokens[part.locate(rows, positions)].tolist() == wanted
        assert part.rows.tolist() == [n for n, s in enumerate(rollout.segments) for _ in s.choices]


def test_the_metric_is_the_ratio_of_tokens() -> None:
    tokens = np.arange(10)
    rng = np.random.default_rng(0)
    segments = [segment_of(0, tokens, rng, free=False), segment_of(1, np.append(tokens[:8], [20, 21]), rng, free=False)]
    _, measures = steps(tiny_model(), RolloutBatch(segments, credit="token"), epochs=3)
    assert measures["prefix_sharing"] == pytest.approx(20 / 12)
