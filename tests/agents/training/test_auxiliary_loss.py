"""The language-model loss is that of the plain model on every token that was not chosen."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from agents.training.auxiliary_loss import sample_positions
from agents.training.rollout_batch import RolloutBatch
from tests.helpers.models import KINDS, Kind, assert_close, tiny_model
from tests.helpers.updates import Kept, gradients, learn, rollout_of, updater


def plain_lm_loss(model: Any, rollout: RolloutBatch) -> Tensor:
    """Return the plain model's -log p, averaged over the tokens of all streams that the agent did not choose."""
    terms = []
    for segment in rollout.segments:
        tokens, chosen = torch.from_numpy(segment.tokens), {choice.position for choice in segment.choices}
        logprobs = model.lm(input_ids=tokens[None]).logits[0].log_softmax(-1)
        terms += [-logprobs[p, tokens[p + 1]] for p in range(len(tokens) - 1) if p not in chosen]
    return torch.stack(terms).mean()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("budget", [1, 4096])
def test_the_lm_loss_is_the_plain_models_on_every_token_that_was_not_chosen(kind: Kind, budget: int) -> None:
    model = tiny_model(kind)
    rollout = rollout_of(model)
    without, kept = gradients(model, rollout)[0], Kept(model)
    update = updater(model, torch_optimizer=kept, lm_loss_coef=0.5, lm_loss_tokens=1000, micro_batch_tokens=budget)
    measures = learn(update, rollout)
    loss = plain_lm_loss(model, rollout)
    assert measures["lm_loss"] == pytest.approx(float(loss.detach()), rel=1e-4)
    model.zero_grad()
    torch.autograd.backward(loss)
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            wanted = without.get(name, torch.zeros_like(parameter)) + 0.5 * parameter.grad
            assert_close(kept.steps[0][name], wanted, within=1e-4)


def test_a_sample_of_the_text_holds_no_choice_and_no_position_twice() -> None:
    rollout = rollout_of(tiny_model())
    sample = sample_positions(rollout, range(len(rollout)), 3, np.random.default_rng(0))
    assert len(sample) == len(rollout)
    for row, positions in sample.items():
        segment = rollout.segments[row]
        assert len(set(positions)) == 3 and max(positions) < len(segment.tokens) - 1
        assert not {choice.position for choice in segment.choices} & set(positions)


def test_the_lm_loss_decreases_with_any_optimizer() -> None:
    model = tiny_model()
    rollout = rollout_of(model)
    update = updater(model, "ppo", lm_loss_coef=1.0, epochs=1, lr=0.01)
    found = [learn(update, rollout, seed)["lm_loss"] for seed in range(12)]
    assert found[-1] < 0.7 * found[0]
