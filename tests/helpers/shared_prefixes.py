"""Random rollouts with shared prefixes, and one of the processes that update a model on such a rollout.

`python -m tests.helpers.shared_prefixes RANK COUNT FOLDER` makes two gradient steps on every COUNT-th segment, with and
without sharing, and writes the gradient of each step, the resulting weights and the metric `prefix_sharing`."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
from safetensors.torch import save_file
from torch import Tensor

from actde import OptimizerConfig
from agents.language_model.token_stream import Choice, Segment
from agents.training import rollout_batch
from agents.training.rollout_batch import RolloutBatch
from experiments.decoders.architectures import WINDOW
from tests.helpers.models import tiny_model
from tests.helpers.updates import learn, updater

VOCABULARY = 40


def random_rollout(seed: int = 0, *, episodes: int = 8, free: bool = False, **settings: Any) -> RolloutBatch:
    """Random streams that leave a common stream at different positions, one that is its prefix, and two equal ones."""
    rng = np.random.default_rng(seed)
    common = rng.integers(0, VOCABULARY, 2 * WINDOW)
    streams = [
        np.concatenate([common[: rng.integers(3, len(common))], rng.integers(0, VOCABULARY, rng.integers(1, WINDOW))])
        for _ in range(episodes - 3)
    ]
    streams += [common, common, common[:WINDOW]]
    segments = [segment_of(index, tokens, rng, free=free) for index, tokens in enumerate(streams)]
    return RolloutBatch(segments, credit=settings.pop("credit", "token"), **settings)


def segment_of(episode: int, tokens: Any, rng: np.random.Generator, *, free: bool) -> Segment:
    """A segment with choices at random positions, two in each turn. The alternatives contain the next token."""
    last = len(tokens) - 1
    positions = np.unique([*rng.integers(0, len(tokens), 6), last])
    choices = []
    for number, position in enumerate(positions.tolist()):
        following = int(tokens[position + 1]) if position < last else 0
        others = rng.permutation(np.setdiff1d(np.arange(VOCABULARY), [following]))[: rng.integers(1, 4)]
        alternatives = (following,) if free else (following, *others.tolist())
        choices.append(
            Choice(
                position=position,
                turn=number // 2,
                alternatives=alternatives,
                chosen=0,
                **{name: float(rng.normal()) for name in ("logprob", "value", "q_value", "reward", "next_value")},
                entropy=1.0,
                discount=0.0 if position == last else 0.9,
                label=0 if number % 2 else None,
            )
        )
    return Segment(episode=episode, tokens=tokens, choices=tuple(choices), whole_vocabulary=free)


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
    rollout_batch.LEAST_SHARING = 1.0
    work(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
