"""Detects and reports that training has diverged."""

from pathlib import Path

import torch

from agents.model.finite_check import check_finite
from agents.model.sharding import local
from agents.protocol import DivergenceError
from agents.storage.checkpoint import trained_tensors
from agents.storage.checkpoint_files import checkpoints
from agents.training.rollout_batch import RolloutBatch
from agents.training.updater import Updater, torch_optimizer_tensors


@torch.no_grad()
def check_update(updater: Updater, rollout: RolloutBatch) -> None:
    """Raise `DivergenceError` if a weight, a model output or the torch optimizer's state is not finite."""
    tensors = trained_tensors(updater.model) | torch_optimizer_tensors(updater.torch_optimizer)
    check_finite({name: local(tensor) for name, tensor in tensors.items()})
    micro_batch, model = rollout.micro_batch([0]), updater.model  # finite weights can give infinite outputs
    with model.mode(training=False), micro_batch.hidden_states(model) as states:
        heads = model.evaluate_choices(states, micro_batch.choices)
    check_finite({"the policy's entropy": heads.entropy, "v": heads.values})
    if heads.recorded_q is not None:
        check_finite({"q": heads.recorded_q})


def divergence_error(error: DivergenceError, iteration: int, run: Path) -> DivergenceError:
    """Return `error` with the newest checkpoint and `iteration`, counted from 1, in the message."""
    saved = checkpoints(run)
    newest = f"the newest checkpoint is {saved[-1]}" if saved else "no checkpoint was saved before"
    advice = "a lower --lr, --reward-scale or --max-grad-norm, or more --critic-warmup, may prevent it"
    return DivergenceError(f"the training diverged in iteration {iteration}: {error}; {newest}; {advice}")
