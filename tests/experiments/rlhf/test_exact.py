"""The exact experiments: tasks, heads, measures, statistics and the report; one short run with SmolLM2."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents.model.pretrained import missing_packages
from experiments.compare.intervals import holm
from experiments.rlhf import exact_report
from experiments.rlhf.contrasts import Array
from experiments.rlhf.exact_contrasts import (
    CELLS,
    CONTRASTS,
    MEASURES,
    SEEDS,
    first_predicted_rollout,
    log_odds,
    summary,
)
from experiments.rlhf.exact_heads import ArmHeads, CentredHeads, tied_kernel
from experiments.rlhf.exact_tasks import TASKS, predicted_policy

needs_smollm2 = pytest.mark.skipif(missing_packages() is not None, reason="SmolLM2 or peft is not installed")
ARMS = 4


@pytest.mark.parametrize("name", TASKS)
def test_rewards_have_the_means_that_the_theory_uses(name: str) -> None:
    task, rng = TASKS[name], np.random.default_rng(0)
    for arm, mean in enumerate(task.means):
        assert task.pay(np.full(20_000, arm), rng).mean() == pytest.approx(mean, abs=0.05)


def test_only_the_lottery_is_unpredictable() -> None:
    task, rng = TASKS["barn"], np.random.default_rng(0)
    spread = [np.ptp(task.pay(np.full(200, arm), rng)) for arm in range(len(task.arms))]
    assert [arm for arm, width in zip(task.arms, spread, strict=True) if width] == ["date"]


def test_shifts_change_no_prediction() -> None:
    start = np.full(7, 1 / 7)
    limits = [predicted_policy(start, TASKS[name].means) for name in ("weddings", "weddings-1", "weddings+1")]
    np.testing.assert_allclose(limits[1:], [limits[0]] * 2)
    assert limits[0][0] / limits[0][1] == pytest.approx(np.exp(2))


def test_the_mean_of_a_centred_q_is_v_and_its_gradient_that_of_the_policy() -> None:
    torch.manual_seed(0)
    heads = CentredHeads(5, ARMS, detach_q=True, detach_value=True)
    for parameter in heads.parameters():
        torch.nn.init.normal_(parameter)
    hidden, embedding, tokens = torch.randn(1, 5), torch.randn(ARMS, 5), torch.arange(ARMS)
    policy = (hidden @ embedding.T).softmax(-1)
    q = heads.q_values(hidden, tokens, embedding)[:, :, 0]
    torch.testing.assert_close((policy * q).sum(-1), heads.values(hidden))
    (gradient,) = torch.autograd.grad(q[0, 1], heads.get_parameter("q.0.out.bias"))
    torch.testing.assert_close(gradient, torch.eye(ARMS)[1] - policy[0])


def test_a_head_with_a_row_per_arm_needs_all_arms() -> None:
    heads = ArmHeads(5, ARMS)
    with pytest.raises(ValueError, match="expected all 4 arms"):
        heads.q_values(torch.zeros(1, 5), torch.arange(2), torch.zeros(2, 5))


def test_log_odds_of_a_certain_group_stay_finite() -> None:
    policy = np.array([[0.25, 0.25, 0.5], [1.0, 1e-30, 1e-30]])
    np.testing.assert_allclose(log_odds(policy, [0]), [-np.log(3), np.log(0.5e30)])


def test_holm_corrects_for_the_number_of_contrasts() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def fake_curves(task: str, seed: int) -> dict[str, Any]:
    """Return curves in which the probability of the first arm rises."""
    rng, arms = np.random.default_rng(seed), len(TASKS[task].arms)
    logits = np.zeros((5, arms))
    logits[:, 0] = np.linspace(0, 1 + 0.1 * rng.normal(), 5)
    policy: Array = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    q = np.linspace(0, 1, 5)[:, None] * TASKS[task].means
    advantages = np.full((5, arms), 0.1)
    return {"policy": policy, "q": q, "reinforcement": advantages, "kernels": np.array([2.0, 6.0]), "seconds": 1.0}


def test_the_summary_splits_what_a_word_draws_where_q_predicts_it() -> None:
    curves = fake_curves("weddings", 0)
    assert first_predicted_rollout(TASKS["weddings"], curves) == 4
    row = summary(TASKS["weddings"], curves)
    assert row["kernel_growth"] == 3
    assert (row["drawn_before"], row["drawn_after"]) == pytest.approx((0.4, 0.1))
    assert row["gain_after"] == 0
    assert row["gain_before"] > 0.5


def test_every_contrast_compares_cells_that_are_trained() -> None:
    for contrast in CONTRASTS:
        assert {(contrast.task, contrast.first), (contrast.task, contrast.second)} <= set(CELLS)
        assert contrast.measure in MEASURES


def test_the_report_has_all_cells_and_contrasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_report, "LONG", 60)
    runs = {(task, method, seed): fake_curves(task, seed) for seed in SEEDS[:2] for task, method in CELLS}
    kernels = {task: {"common": 1e4, "differences": 10.0, "times": 1e3} for task in TASKS} | {"adamw": 500.0}
    exact_report.write(tmp_path, runs, kernels)
    text = (tmp_path / "exact.md").read_text()
    assert "{{" not in text
    assert text.count("| centred-steady ") >= len(CONTRASTS[-4:])
    assert (tmp_path / "exact.json").exists()


@pytest.mark.slow
@needs_smollm2
def test_the_lower_layers_are_a_constant_and_a_short_run_raises_the_reward() -> None:
    from agents.config import ModelConfig
    from agents.model.build import assemble
    from experiments.rlhf.exact_bandit import METHODS, initial_model, train

    task = TASKS["weddings"]
    model, tokens, arms = initial_model(task, METHODS["actde"], 0)
    whole = assemble(ModelConfig(trunk="smollm2", lora=16), None)[0]
    hidden = [one.hidden_states(tokens, use_cache=False)[0, -1:] for one in (model, whole)]
    torch.testing.assert_close(*hidden, rtol=1e-4, atol=1e-4)
    weight = model.base.get_output_embeddings().weight[arms]
    q = model.heads.q[0](hidden[0].detach(), arms, weight)[0]
    rows = [torch.autograd.grad(x, list(model.heads.q.parameters()), retain_graph=True) for x in q]
    gradients = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
    np.testing.assert_allclose(tied_kernel(model, tokens, arms), gradients @ gradients.T, rtol=1e-4)
    curves = train(task, METHODS["pg"], seed=0, rollouts=2)
    rewards = curves["policy"] @ task.means
    assert curves["policy"].shape == (3, 7)
    assert rewards[2] > rewards[0] + 0.02
    assert curves["reinforcement"][0, 0] == pytest.approx(curves["policy"][0, 0], abs=0.1)
