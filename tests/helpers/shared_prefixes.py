"""One of the processes that update a model on a random rollout with shared prefixes.

`python -m tests.helpers.shared_prefixes RANK COUNT FOLDER` makes two gradient steps on every COUNT-th segment, with and
without sharing, and writes the gradient of each step, the resulting weights and the metric `prefix_sharing`."""

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from safetensors.torch import save_file
from torch import Tensor

from actde import OptimizerConfig
from agents.model import prefix_tree
from agents.training.rollout_batch import RolloutBatch
from tests.helpers.models import tiny_model
from tests.helpers.random_rollouts import random_rollout
from tests.helpers.updates import learn, updater


def work(rank: int, count: int, folder: Path) -> None:
    """Make two gradient steps on every `count`-th segment from `rank` on, with and without sharing."""
    learning = OptimizerConfig(gamma=0.9, whitening="batch", entropy_coef=0.1, kl_coef=0.2)
    rollout = RolloutBatch(random_rollout().segments[rank::count], credit="token")
    for sharing in ("auto", "off"):
        model, tensors = tiny_model(), dict[str, Tensor]()
        steps = torch.optim.SGD(model.parameters(), lr=0.1)

        def record(*_: Any, model: Any = model, tensors: dict[str, Tensor] = tensors) -> None:
            tensors |= {f"{len(tensors)}.{name}": p.grad.clone() for name, p in model.named_parameters()}

        steps.register_step_pre_hook(record)
        update = updater(
            model,
            torch_optimizer=steps,
            reference=tiny_model(seed=7),
            learning=learning,
            epochs=2,
            prefix_sharing=sharing,
            lm_loss_coef=0.5,
            lm_loss_tokens=1000,  # all positions
            micro_batch_tokens=50,  # cuts the trees of process 0 and of a single process
        )
        measures = learn(update, rollout, seed=rank)
        tensors |= model.state_dict() | {"sharing": torch.tensor(measures["prefix_sharing"])}
        save_file(tensors, folder / f"{sharing}-{rank}-of-{count}.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    prefix_tree.LEAST_SHARING = 1.0
    work(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
