"""What a training run is put together from, and the state of its stepper as tensors.

Small functions without a run (`trainer.py` has that): what its settings assemble, the words of its games, the seed
of a process, the model that a KL is measured to. Leaves out what is assembled (trunk.py) and stored (checkpoint.py).
"""

import copy
from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import torch
from accelerate import Accelerator

import games
from agents.config import TrainConfig
from agents.model.actor_critic import ActorCritic
from agents.model.build import ModelConfig


def frozen_copy(model: ActorCritic) -> ActorCritic:
    """A copy of the model in evaluation mode; the trunk below an adapter, which never changes, is shared with it."""
    shared = {id(parameter): parameter for parameter in model.lm.parameters() if not parameter.requires_grad}
    return copy.deepcopy(model, shared).eval().requires_grad_(False)


def assembly_of_run(settings: TrainConfig, *, q_heads: int) -> ModelConfig:
    """What to put together for these settings."""
    values = {spec.name: getattr(settings, spec.name) for spec in fields(ModelConfig)}
    return ModelConfig(**(values | {"q_heads": q_heads}))


def vocabulary(specs: Sequence[games.GameSpec]) -> tuple[str, ...] | None:
    """All words of the games, where every one of them knows its own; None for an open vocabulary."""
    words: dict[str, None] = {}
    for spec in specs:
        env = spec.make()
        own = getattr(env.unwrapped, "vocabulary", None)
        env.close()
        if own is None:
            return None
        words.update(dict.fromkeys(own))
    return tuple(words)


def process_seed(settings: TrainConfig, accelerator: Accelerator) -> int:
    """The run's seed, and another in each further process, so that every one plays games of its own."""
    if accelerator.process_index == 0:
        return settings.seed
    return int(np.random.SeedSequence([settings.seed, accelerator.process_index]).generate_state(1)[0])


def torch_optimizer_tensors(stepper: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """AdamW's moments and step counts, by number of parameter: "stepper.7.exp_avg"; nothing for SGD."""
    state = stepper.state_dict()["state"]
    return {f"stepper.{index}.{name}": tensor for index, moments in state.items() for name, tensor in moments.items()}


def load_torch_optimizer(stepper: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Take back what `torch_optimizer_tensors` gave."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        _, index, name = key.split(".")
        state.setdefault(int(index), {})[name] = tensor
    stepper.load_state_dict({"state": state, "param_groups": stepper.state_dict()["param_groups"]})
