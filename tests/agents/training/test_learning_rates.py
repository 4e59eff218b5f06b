"""What each learning rate, the warm-up, weight decay and gradient clipping act on."""

import copy
from typing import Any

import pytest
import torch

from agents.config import UpdateConfig
from agents.model.actor_critic import ActorCritic
from agents.model.build import new_trunk
from agents.training.updater import make_torch_optimizer, parameter_groups, set_learning_rates
from tests.helpers.models import KINDS, assert_close, tiny_model
from tests.helpers.updates import Kept, gradients, learn, rollout_of, updater


def test_policy_value_and_q_have_their_own_learning_rates() -> None:
    model = tiny_model()
    rollout = rollout_of(model)
    (gradient,) = gradients(model, rollout)
    before = copy.deepcopy(dict(model.named_parameters()))
    learn(updater(model, torch_optimizer=None, lr=0.1, value_lr=0.0, q_lr=0.01), rollout)
    for name, parameter in model.named_parameters():
        if name.startswith("heads.value"):
            assert torch.equal(parameter, before[name])
    plain = tiny_model()
    config = UpdateConfig(torch_optimizer="sgd", lr=0.1, value_lr=0.0, q_lr=0.01, epochs=1, max_grad_norm=1e9)
    learn(updater(plain, torch_optimizer=make_torch_optimizer(plain, config)), rollout)
    for name, parameter in plain.named_parameters():
        rate = 0.0 if name.startswith("heads.value") else 0.01 if name.startswith("heads.q") else 0.1
        if name in gradient:
            assert_close(parameter, before[name] - rate * gradient[name], within=1e-5)


def test_by_default_the_heads_have_the_learning_rate_of_the_policy() -> None:
    groups = parameter_groups(tiny_model(), UpdateConfig(lr=0.7))
    assert {group["lr"] for group in groups} == {0.7} and {group["name"] for group in groups} == {
        "policy",
        "value",
        "q",
    }


def test_linear_learning_rates_decay_to_one_step_above_0() -> None:
    constant = UpdateConfig(lr=0.7, q_lr=0.1)
    linear = constant.replace(lr_schedule="linear")
    for config, wanted in ((constant, [1.0, 1.0, 1.0, 1.0]), (linear, [1.0, 0.75, 0.5, 0.25])):
        torch_optimizer = make_torch_optimizer(tiny_model(), config)
        for iteration, share in enumerate(wanted):
            set_learning_rates(torch_optimizer, config, iteration, 4)
            rates = {group["name"]: group["lr"] for group in torch_optimizer.param_groups}
            assert rates == pytest.approx({"policy": 0.7 * share, "value": 0.7 * share, "q": 0.1 * share})
        set_learning_rates(torch_optimizer, config, 9, 4)  # a run that goes on beyond its budget does not go uphill
        assert all(group["lr"] >= 0 for group in torch_optimizer.param_groups)


def test_the_critic_warmup_trains_the_heads_only() -> None:
    model = tiny_model()
    rollout, before = rollout_of(model), copy.deepcopy(dict(model.named_parameters()))
    config = UpdateConfig(lr=0.01, critic_warmup=2, epochs=1, weight_decay=0.1)
    torch_optimizer = make_torch_optimizer(model, config)
    for iteration in range(3):
        set_learning_rates(torch_optimizer, config, iteration, 200)
        learn(updater(model, torch_optimizer=torch_optimizer), rollout)
        moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
        heads = {n for n in before if n.startswith("heads.")}
        assert moved >= heads and (moved == heads) == (iteration < 2)


def linear_matrices(model: ActorCritic) -> set[str]:
    ends = ("proj.weight", "c_attn.weight", "c_fc.weight", "out.weight", "lm_head.weight")
    tied = {"lm.lm_head.weight"} & set(dict(model.named_parameters()))
    return {n for n, _ in model.named_parameters() if n.endswith(ends) and (n != "lm.lm_head.weight" or tied)}


@pytest.mark.parametrize("trunk", ["llama", "gpt2", "pico", "small"])
def test_weight_decay_acts_on_linear_matrices_only(trunk: Any) -> None:
    model = tiny_model(trunk if trunk in KINDS else "llama")
    if trunk not in KINDS:
        model.lm = new_trunk(trunk, 20, 0.0)
    wanted = linear_matrices(model) - ({"lm.lm_head.weight"} if trunk in ("gpt2", "small") else set())
    before = copy.deepcopy(dict(model.named_parameters()))
    torch_optimizer = make_torch_optimizer(model, UpdateConfig(lr=0.5, weight_decay=0.2))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    torch_optimizer.step()
    shrunk = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert shrunk == {n for n in wanted if before[n].any()}
    for name in shrunk:
        assert_close(dict(model.named_parameters())[name], 0.9 * before[name])


def test_gradients_are_clipped_together() -> None:
    model = tiny_model()
    rollout = rollout_of(model)
    kept = Kept(model)
    measures = learn(updater(model, torch_optimizer=kept, max_grad_norm=0.01), rollout)
    norm = torch.stack([gradient.norm() for gradient in kept.steps[0].values()]).norm()
    assert float(norm) == pytest.approx(0.01, rel=1e-3) and measures["grad_norm"] > 0.02
