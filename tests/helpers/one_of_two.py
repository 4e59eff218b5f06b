"""One of the processes of `test_processes.py`: `python -m tests.helpers.one_of_two RANK COUNT OUT`.

The process plays all episodes, trains on every COUNT-th segment and writes the resulting weights and metrics."""

import json
import sys
from pathlib import Path

import torch
import torch.distributed
from safetensors.torch import save_file

from actde import OptimizerConfig
from agents.training.rollout_batch import RolloutBatch
from tests.helpers.models import tiny_model
from tests.helpers.updates import learn, rollout_of, updater

LEARNING = OptimizerConfig(gamma=0.5, whitening="batch", entropy_coef=0.1, kl_coef=0.1, kl_target=0.01)


def work(rank: int, count: int, out: Path) -> None:
    """Make updates with 1, 3 and 1 minibatches, or only one if `count` is 1. Two processes have 3 and 2 segments."""
    model, reference = tiny_model(), tiny_model(seed=7).requires_grad_(False)
    rollout = rollout_of(model, episodes=5)
    part = RolloutBatch(rollout.segments[rank::count], credit="token")
    measures = []
    for minibatches in (1, 3, 1) if count > 1 else (1,):
        torch_optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        update = updater(
            model, torch_optimizer=torch_optimizer, reference=reference, learning=LEARNING, minibatches=minibatches
        )
        measures.append(learn(update, part, seed=rank))
        tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        save_file(tensors, out / f"{len(measures)}-{rank}-of-{count}.safetensors")
    (out / f"{rank}-of-{count}.json").write_text(json.dumps(measures))


if __name__ == "__main__":
    torch.set_num_threads(1)
    work(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
