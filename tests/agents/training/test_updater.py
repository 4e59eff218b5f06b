"""The update: every choice counts once, whatever the micro-batches."""

import copy
import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor

from actde import OptimizerConfig
from agents.language_model.token_stream import Choice, Segment
from agents.model.actor_critic import ActorCritic
from agents.training.rollout_batch import RolloutBatch, micro_batch_rows
from tests.helpers.models import KINDS, Kind, assert_close, tiny_model
from tests.helpers.scripts import Scene, ScriptSpec
from tests.helpers.updates import OPTIONS, Kept, assert_same_gradients, gradients, learn, rollout_of, updater

# -- which choices count ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("credit", ["token", "command"])
def test_micro_batches_change_nothing_in_the_gradient(kind: Kind, credit: str) -> None:
    model = tiny_model(kind)
    rollout = rollout_of(model, credit=credit)
    (whole,) = gradients(model, rollout)
    for tokens in (1, 30, 60):
        (parts,) = gradients(model, rollout, micro_batch_tokens=tokens)
        assert_same_gradients(parts, whole)


def test_measures_do_not_depend_on_micro_batches() -> None:
    model = tiny_model()
    rollout = rollout_of(model)
    whole = learn(updater(model, torch_optimizer=Kept(model)), rollout)
    parts = learn(updater(model, torch_optimizer=Kept(model), micro_batch_tokens=1), rollout)
    assert whole.pop("prefix_sharing") > parts.pop("prefix_sharing")  # prefixes are shared within a micro-batch
    assert parts == pytest.approx(whole, rel=1e-4, abs=1e-6)


def test_every_sample_contributes_to_the_gradient() -> None:
    model = tiny_model()
    rollout = rollout_of(model, episodes=6)
    (whole,) = gradients(model, rollout)
    total = {name: torch.zeros_like(gradient) for name, gradient in whole.items()}
    counts = [len(segment.choices) for segment in rollout.segments]
    for segment, count in zip(rollout.segments, counts, strict=True):
        (single,) = gradients(model, RolloutBatch([segment], credit="token"))
        assert float(single["lm.model.embed_tokens.weight"].abs().sum()) > 0
        for name, gradient in single.items():
            total[name] += gradient * count / sum(counts)
    assert_same_gradients(total, whole)


def test_the_order_of_samples_changes_nothing() -> None:
    model = tiny_model()
    rollout = rollout_of(model)
    (whole,) = gradients(model, rollout)
    (turned,) = gradients(model, RolloutBatch(rollout.segments[::-1], credit="token"))
    assert_same_gradients(turned, whole)


def test_minibatches_cover_every_sample_once_an_epoch() -> None:
    model = tiny_model()
    rollout = rollout_of(model, episodes=7)
    update = updater(model, epochs=3, minibatches=4)
    steps = list(update._minibatches(len(rollout), np.random.default_rng(0)))
    assert len(steps) == 12
    epochs = [list(itertools.chain(*steps[i : i + 4])) for i in (0, 4, 8)]
    assert all(sorted(rows) == list(range(7)) for rows in epochs) and epochs[0] != epochs[1]
    assert [len(rows) for rows in update._minibatches(2, np.random.default_rng(0))] == [1, 1] * 3


@hypothesis_settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.integers(1, 120))
def test_micro_batches_fit_the_budget(lengths: list[int], budget: int) -> None:
    def segment(length: int) -> Segment:
        only = Choice(
            position=length - 1, turn=0, alternatives=(1, 2), chosen=0, logprob=0, value=0, q_value=0, entropy=0
        )
        return Segment(episode=0, tokens=np.zeros(length, dtype=np.int64), choices=(only,))

    rollout = RolloutBatch([segment(length) for length in lengths], credit="token")
    rows = list(range(len(lengths)))[::-1]
    found = list(micro_batch_rows(rollout, rows, budget))
    assert sorted(itertools.chain(*found)) == sorted(rows)
    for micro in found:
        assert len(micro) == 1 or len(micro) * max(lengths[row] for row in micro) <= budget


def test_an_advantage_of_zero_is_not_padding() -> None:
    model = tiny_model(init_std=0.0)  # v = q = 0 everywhere
    nothing = ScriptSpec([[Scene("room", dict.fromkeys(OPTIONS, 0.0))] * length for length in (1, 3)])
    rollout = rollout_of(model, spec=nothing)
    update = updater(model, torch_optimizer=Kept(model))
    measures, targets = update.learn(rollout, np.random.default_rng(0))
    assert not targets.advantages.any()
    choices = [c for segment in rollout.segments for c in segment.choices]
    assert measures["entropy"] == pytest.approx(np.mean([c.entropy for c in choices]), rel=1e-4)
    assert measures["ratio"] == pytest.approx(1.0, abs=1e-5)


# -- the ratio -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("credit", ["token", "command"])
@pytest.mark.parametrize("context", [None, 24])
def test_the_ratio_is_one_before_the_first_step(kind: Kind, credit: str, context: int | None) -> None:
    model = tiny_model(kind)
    rollout = rollout_of(model, credit=credit, context=context)
    batch, part = rollout.batch(with_q=True), rollout.micro_batch(range(len(rollout)))
    with torch.no_grad():
        outputs = part.outputs(model(part.tokens, part.choices))
    assert_close(outputs.logprobs, batch.logprobs)
    assert_close(outputs.values, batch.values)
    assert outputs.q_values is not None and batch.q_values is not None
    assert_close(outputs.q_values.amin(-1), batch.q_values)
    measures = learn(updater(model), rollout)
    assert measures["ratio"] == pytest.approx(1.0, abs=1e-5)
    assert measures["approx_kl"] == pytest.approx(0.0, abs=1e-9) and measures["clip_fraction"] == 0.0


def test_later_epochs_have_another_ratio() -> None:
    model = tiny_model()
    measures = learn(updater(model, epochs=4, lr=0.01), rollout_of(model))
    assert measures["approx_kl"] > 1e-6


# -- PPO and ACTDE ---------------------------------------------------------------------------------------


def test_actde_with_q_equal_to_v_is_ppo_through_the_whole_update() -> None:
    model = tiny_model()
    segments = [
        replace(segment, choices=tuple(replace(c, q_value=c.value) for c in segment.choices))
        for segment in rollout_of(model, episodes=6).segments
    ]
    rollout = RolloutBatch(segments, credit="token")
    other = copy.deepcopy(model)
    learning = OptimizerConfig(gamma=0.5, train_q=True)
    for name, network in (("actde", model), ("ppo", other)):
        learn(updater(network, name, learning=learning, epochs=3, minibatches=2, lr=0.01), rollout)
    for (name, ours), theirs in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs), name


def test_actde_differs_from_ppo_where_q_differs_from_v() -> None:
    model = tiny_model()
    rollout = rollout_of(model)
    learning = OptimizerConfig(gamma=0.5, train_q=True)
    (actde,) = gradients(model, rollout, "actde", learning=learning)
    (ppo,) = gradients(model, rollout, "ppo", learning=learning)
    assert not torch.allclose(actde["lm.lm_head.weight"], ppo["lm.lm_head.weight"], atol=1e-4)
    for name in ("heads.value.out.weight", "heads.q.0.out.weight"):  # the targets of v and q are the same
        assert_close(actde[name], ppo[name])


# -- heads -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("q_heads", [1, 2])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_target_heads_follow_and_are_never_trained(q_heads: int, tied: bool, layers: int) -> None:
    model = tiny_model(q_heads=q_heads, tied=tied, layers=layers, target_q=True)
    rollout = rollout_of(model)
    before = copy.deepcopy(model.heads.target_q)
    learn(updater(model, lr=0.1, target_rate=0.25), rollout)
    assert model.heads.target_q is not None and before is not None
    moved = False
    for q, target, old in zip(
        model.heads.q.parameters(), model.heads.target_q.parameters(), before.parameters(), strict=True
    ):
        assert_close(target, old + 0.25 * (q - old))
        assert target.grad is None and not target.requires_grad
        moved |= not torch.equal(q, old)
    assert moved


def test_the_rollout_records_target_heads() -> None:
    model = tiny_model(q_heads=2, target_q=True)
    with torch.no_grad():
        for parameter in model.heads.q.parameters():
            parameter.add_(100.0)
    values = [c.q_value for segment in rollout_of(model).segments for c in segment.choices]
    assert max(values) < 50


@pytest.mark.parametrize(("detach", "coef"), [("detach_value", "value_coef"), ("detach_q", "q_coef")])
def test_detached_heads_do_not_train_the_trunk(detach: str, coef: str) -> None:
    def gradient(weight: float, *, cut: bool) -> dict[str, Tensor]:
        heads: dict[str, Any] = {detach: cut}
        coefs: dict[str, Any] = {"value_coef": 0.5, "q_coef": 0.5} | {coef: weight}
        learning = OptimizerConfig(**coefs)
        model = tiny_model(**heads)
        return gradients(model, rollout_of(model), learning=learning)[0]

    trunk = "lm.model.embed_tokens.weight"
    assert_close(gradient(5.0, cut=True)[trunk], gradient(0.0, cut=True)[trunk], within=1e-6)
    assert not torch.allclose(gradient(5.0, cut=False)[trunk], gradient(0.0, cut=False)[trunk], atol=1e-3)
    head = "heads.value.out.weight" if coef == "value_coef" else "heads.q.0.out.weight"
    assert gradient(5.0, cut=True)[head].abs().sum() > 0


def test_tied_q_heads_send_no_gradient_into_the_embedding() -> None:
    model = tiny_model(tied=True, detach_q=True, detach_value=True, init_std=0.3)
    rollout = rollout_of(model)
    with_q = gradients(model, rollout, learning=OptimizerConfig(q_coef=5.0))[0]
    without = gradients(model, rollout, learning=OptimizerConfig(q_coef=0.0))[0]
    assert_close(with_q["lm.lm_head.weight"], without["lm.lm_head.weight"], within=1e-6)
    assert with_q["heads.q.0.project.weight"].abs().sum() > 0


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("tied", [False, True])
def test_heads_that_start_at_zero_still_learn(layers: int, tied: bool) -> None:
    model = tiny_model(layers=layers, tied=tied, init_std=0.0)
    rollout = rollout_of(model)
    assert all(c.value == 0.0 and c.q_value == 0.0 for segment in rollout.segments for c in segment.choices)
    learn(updater(model, epochs=20, lr=0.02, learning=OptimizerConfig(value_coef=1.0, value_clip_range=None)), rollout)
    again = rollout_of(model)
    assert np.std([c.value for segment in again.segments for c in segment.choices]) > 0
    assert np.mean([abs(c.q_value) for segment in again.segments for c in segment.choices]) > 0.05


# -- steps -----------------------------------------------------------------------------------------------


# -- the reference policy --------------------------------------------------------------------------------


def exact_kl(model: ActorCritic, reference: ActorCritic, segments: Sequence[Segment]) -> float:
    """Mean over choices of KL(pi || reference), each from a plain pass of each model."""
    found = []
    with torch.no_grad():
        for segment in segments:
            tokens = torch.from_numpy(segment.tokens)[None]
            ours, theirs = (m.hidden_states(tokens, use_cache=False)[0] for m in (model, reference))
            for c in segment.choices:
                offered = torch.tensor([c.alternatives])
                p = model.evaluate_heads(ours[c.position][None], offered).logprobs[0]
                r = reference.evaluate_heads(theirs[c.position][None], offered).logprobs[0]
                found.append(float((p.exp() * (p - r)).sum()))
    return float(np.mean(found))


@pytest.mark.parametrize("place", ["loss", "reward"])
def test_kl_to_a_frozen_copy(place: Any) -> None:
    model = tiny_model()
    reference = copy.deepcopy(model).requires_grad_(False)
    start = copy.deepcopy(reference.state_dict())
    learning = OptimizerConfig(gamma=0.5, kl_coef=0.5, kl_place=place)
    update = updater(model, reference=reference, learning=learning, lr=0.02)
    rollout = rollout_of(model)
    assert learn(update, rollout)["kl_ref"] == pytest.approx(0.0, abs=1e-6)
    second = rollout_of(model, seed=1)
    wanted = exact_kl(model, reference, second.segments)
    assert wanted > 1e-3
    assert learn(update, second)["kl_ref"] == pytest.approx(wanted, rel=1e-3)
    assert all(torch.equal(tensor, start[name]) for name, tensor in reference.state_dict().items())


def test_kl_pulls_the_policy_back() -> None:
    model = tiny_model()
    reference = tiny_model(seed=7).requires_grad_(False)
    learning = OptimizerConfig(gamma=0.5, kl_coef=100.0, value_coef=0.0, q_coef=0.0)
    update = updater(model, reference=reference, learning=learning, lr=0.003, epochs=10)
    rollout = rollout_of(model)
    before = exact_kl(model, reference, rollout.segments)
    learn(update, rollout)
    assert exact_kl(model, reference, rollout.segments) < 0.5 * before


def test_padded_alternatives_give_no_nan() -> None:
    mixed = ScriptSpec([[Scene("room", {"go north": 1.0, "go south": 0.0}), Scene("room", OPTIONS)]])
    model = tiny_model()
    reference = tiny_model(seed=7).requires_grad_(False)
    rollout = rollout_of(model, spec=mixed)
    kept = Kept(model)
    learning = OptimizerConfig(kl_coef=0.5)
    measures = learn(updater(model, torch_optimizer=kept, reference=reference, learning=learning), rollout)
    assert all(np.isfinite(value) for value in measures.values())
    assert all(bool(gradient.isfinite().all()) for gradient in kept.steps[0].values())
