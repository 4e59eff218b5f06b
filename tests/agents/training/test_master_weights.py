"""Trunks in bfloat16 that are trained in full: every weight moves, and a resumed run continues exactly."""

from typing import Any

import pytest
import torch

from agents.config import UpdateConfig
from agents.model.actor_critic import ActorCritic
from agents.model.heads import Heads
from agents.storage.checkpoint import trained_tensors
from agents.training.updater import Updater, load_torch_optimizer, make_torch_optimizer, torch_optimizer_tensors
from experiments.decoders.architectures import tiny_decoder
from tests.helpers.models import tokenizer
from tests.helpers.updates import learn, rollout_of, updater

ARCHITECTURES = ("gpt_neox", "qwen3", "olmo2", "stablelm")


def bfloat16_model(name: str) -> ActorCritic:
    torch.manual_seed(0)
    lm = tiny_decoder(name, len(tokenizer())).to(torch.bfloat16)
    return ActorCritic(lm, Heads(32, len(tokenizer()), init_std=0.3)).eval()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_weight_of_a_bfloat16_trunk_moves(name: str) -> None:
    model = bfloat16_model(name)
    start = {n: p.clone() for n, p in model.named_parameters()}
    update, rollout = updater(model, lr=3e-4, epochs=40), rollout_of(model)
    learn(update, rollout)
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, start[n])}
    assert {n for n in start if "norm" in n} and moved == start.keys()
    assert {p.dtype for p in model.lm.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_bfloat16_trunk_takes_the_steps_of_a_float32_trunk(name: str) -> None:
    """The master weights after one step equal those of a float32 trunk with the same gradient."""
    model = bfloat16_model(name)
    torch_optimizer = make_torch_optimizer(model, UpdateConfig(torch_optimizer="sgd", lr=1e-3))
    for parameter in model.parameters():  # twice, as for two micro-batches
        parameter.sum().backward()  # type: ignore[no-untyped-call]
        parameter.sum().backward()  # type: ignore[no-untyped-call]
    start = {n: p.detach().float().clone() for n, p in model.named_parameters()}
    torch_optimizer.step()
    for n, parameter in model.named_parameters():
        expected = start[n] - 1e-3 * 2
        assert torch.equal(parameter.detach(), expected.to(parameter.dtype)), n
        torch.testing.assert_close(getattr(parameter, "master", parameter).detach(), expected)


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_the_state_of_the_torch_optimizer_includes_the_master_weights(kind: Any) -> None:

    def starting(model: ActorCritic) -> Updater:
        torch_optimizer = make_torch_optimizer(model, UpdateConfig(lr=3e-4, torch_optimizer=kind))
        return updater(model, torch_optimizer=torch_optimizer, epochs=2)

    model = bfloat16_model("qwen3")
    update, rollout = starting(model), rollout_of(model)
    learn(update, rollout)
    saved = {n: p.detach().clone() for n, p in trained_tensors(model).items()}
    state = {n: x.clone() for n, x in torch_optimizer_tensors(update.torch_optimizer).items()}
    learn(update, rollout, seed=1)
    resumed = bfloat16_model("qwen3")
    with torch.no_grad():
        for n, parameter in trained_tensors(resumed).items():
            parameter.copy_(saved[n])
    second = starting(resumed)
    load_torch_optimizer(second.torch_optimizer, state)
    learn(second, rollout, seed=1)
    for n, parameter in trained_tensors(model).items():
        assert torch.equal(parameter, trained_tensors(resumed)[n]), n
