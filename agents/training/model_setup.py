"""Prepares a model for training: its device, reference policy and torch optimizer."""

import copy
import os
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.distributed.fsdp import CPUOffloadPolicy

from actde import Optimizer
from agents.config import TrainConfig
from agents.model.actor_critic import ActorCritic
from agents.model.packed_attention import can_pack
from agents.model.sharding import shard, sharding_plugin, trunk_parameters
from agents.training.memory_estimate import USABLE, MemoryNeeds, available, capacity, check_memory, context_of, needed
from agents.training.updater import make_torch_optimizer


def place(model: ActorCritic, accelerator: Accelerator) -> Any:
    """Move the model to its device. If it will be sharded, return the FSDP settings instead."""
    plugin = sharding_plugin() if accelerator.num_processes > 1 else None
    if plugin is None:  # otherwise, a device might hold no more than its shard
        model.to(accelerator.device)
    return plugin


def needs_copy(config: TrainConfig, optimizer: Optimizer) -> bool:
    """Return whether the run needs a frozen copy of the initial policy."""
    adapter_is_new = config.model.lora > 0 and not config.run.init  # disabling it restores the initial policy
    return not adapter_is_new and (optimizer.needs_reference or bool(config.probe.probe_prompts))


def reference_copy(
    config: TrainConfig, model: ActorCritic, optimizer: Optimizer, *, sharded: bool
) -> ActorCritic | None:
    """Return a frozen copy of the initial policy, or None if it is not needed."""
    if not needs_copy(config, optimizer):
        return None
    if sharded:
        shared = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in trunk_parameters(model)}
    else:
        shared = {id(p): p for p in model.lm.parameters() if not p.requires_grad}
    # the copy shares the memory of these parameters
    return copy.deepcopy(model, shared).eval().requires_grad_(False)


def plays_by_layer(config: TrainConfig, *, fits: bool) -> bool:
    """Return whether play gathers the trunk layer by layer.

    `fits` says whether the run fits into memory with the whole trunk.
    """
    return config.rollout.sharded_play == "layers" or (config.rollout.sharded_play == "auto" and not fits)


def prepare(
    config: TrainConfig, model: ActorCritic, reference: ActorCritic | None, accelerator: Accelerator, plugin: Any
) -> torch.optim.Optimizer:
    """Check the memory, shard the models if necessary, and return the torch optimizer.

    `plugin` is the result of `place`.
    """
    context = context_of(config, model)
    models = [model] if reference is None else [model, reference]
    needs, processes, by_layer, advice = MemoryNeeds.of(model, config.update), accelerator.num_processes, False, ""
    own_machine = min(processes, int(os.environ.get("LOCAL_WORLD_SIZE", processes)))
    free = available(accelerator.device, own_machine)
    if plugin is not None:
        moved, offloaded = model.device == accelerator.device, isinstance(plugin.cpu_offload, CPUOffloadPolicy)
        shards = partial(needs.sharded, models, processes=processes, moved=moved, offloaded=offloaded)
        whole, layers = (needed(shards(by_layer=each), config, context=context)() for each in (False, True))
        # unlike the free memory, the capacity is equal in all processes
        by_layer = plays_by_layer(config, fits=whole <= USABLE * capacity(accelerator.device, own_machine))
        needs, advice = shards(by_layer=by_layer), "--sharded-play layers" if layers <= free else ""
    check_memory(needs, config, context=context, free=free, advice=advice)
    if config.update.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    if plugin is not None:
        for each in models:
            _verify_packing(each, config)  # FSDP could not continue after an error within a layer
            shard(each, plugin, accelerator.device, by_layer=by_layer)
    return make_torch_optimizer(model, config.update)


def _verify_packing(model: ActorCritic, config: TrainConfig) -> None:
    for training in (True, False) if config.update.prefix_sharing == "auto" else ():
        with model.mode(training=training):
            can_pack(model)  # its result is cached
