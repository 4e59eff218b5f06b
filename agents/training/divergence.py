"""Detects and reports that training has diverged, before an infinite number or NaN is saved."""

from pathlib import Path

import torch

from agents.model.finite_check import check_finite
from agents.model.sharding import local
from agents.protocol import DivergenceError
from agents.storage.checkpoint import checkpoints, trained_tensors
from agents.training.rollout_batch import RolloutBatch
from agents.training.updater import Updater, torch_optimizer_tensors


@torch.no_grad()
def check_update(updater: Updater, rollout: RolloutBatch) -> None:
    """Raise `DivergenceError` if the weights, the torch optimizer's state or the model's outputs are not finite.

    Finite weights can give infinite outputs. The outputs for the rollout's first segment are therefore checked too.
    """
    tensors = trained_tensors(updater.model) | torch_optimizer_tensors(updater.torch_optimizer)
    check_finite({name: local(tensor) for name, tensor in tensors.items()})
    part, model = rollout.micro_batch([0]), updater.model
    with model.mode(training=False), part.hidden_states(model) as states:
        heads = model.evaluate_choices(states, part.choices)
    check_finite({"the policy's entropy": heads.entropy, "v": heads.values})
    if heads.recorded_q is not None:
        check_finite({"q": heads.recorded_q})


def diverged(error: DivergenceError, iteration: int, run: Path) -> DivergenceError:
    """Return an error whose message also names the newest checkpoint in `run`, and gives advice.

    `iteration` is counted from 1.
    """
    saved = checkpoints(run)
    kept = f"the newest checkpoint is {saved[-1]}" if saved else "no checkpoint was saved before"
    advice = "a lower --lr, --reward-scale or --max-grad-norm, or more --critic-warmup, may prevent it"
    return DivergenceError(f"the training diverged in iteration {iteration}: {error}; {kept}; {advice}")
