"""Prepares a model for training: device, reference policy and torch optimizer."""

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
from agents.training.memory_estimate import (
    USABLE,
    MemoryNeeds,
    available,
    capacity,
    check_memory,
    context_of,
    peak_estimator,
)
from agents.training.updater import make_torch_optimizer


def move_to_device(model: ActorCritic, accelerator: Accelerator) -> Any:
    """If the model will be sharded, return FSDP settings. Otherwise, move the model to the device and return None."""
    plugin = sharding_plugin() if accelerator.num_processes > 1 else None
    if plugin is None:  # otherwise, a device might hold no more than its shard
        model.to(accelerator.device)
    return plugin


def needs_reference_copy(config: TrainConfig, optimizer: Optimizer) -> bool:
    """Return whether the run needs a frozen copy of the initial policy."""
    adapter_is_new = config.model.lora > 0 and not config.run.init  # disabling it restores the initial policy
    return not adapter_is_new and (optimizer.needs_reference or bool(config.probe.probe_prompts))


def reference_copy(
    config: TrainConfig, model: ActorCritic, optimizer: Optimizer, *, sharded: bool
) -> ActorCritic | None:
    """Return a frozen copy of the initial policy, or None if the run needs no copy."""
    if not needs_reference_copy(config, optimizer):
        return None
    if sharded:
        memo = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in trunk_parameters(model)}
    else:
        memo = {id(p): p for p in model.lm.parameters() if not p.requires_grad}
    # the copy shares the memory of these parameters
    return copy.deepcopy(model, memo).eval().requires_grad_(False)


def plays_by_layer(config: TrainConfig, *, fits: bool) -> bool:
    """Return whether play gathers one layer at a time. `fits` tells whether the whole trunk would fit into memory."""
    return config.rollout.sharded_play == "layers" or (config.rollout.sharded_play == "auto" and not fits)


def prepare(
    config: TrainConfig, model: ActorCritic, reference: ActorCritic | None, accelerator: Accelerator, plugin: Any
) -> torch.optim.Optimizer:
    """Check the needed memory, shard the models if `plugin` is given, and return the torch optimizer."""
    context = context_of(config, model)
    models = [model] if reference is None else [model, reference]
    needs, processes, by_layer, advice = MemoryNeeds.of(model, config.update), accelerator.num_processes, False, ""
    local_processes = min(processes, int(os.environ.get("LOCAL_WORLD_SIZE", processes)))
    free = available(accelerator.device, local_processes)
    if plugin is not None:
        on_device, offloaded = model.device == accelerator.device, isinstance(plugin.cpu_offload, CPUOffloadPolicy)
        sharded_needs = partial(needs.sharded, models, processes=processes, on_device=on_device, offloaded=offloaded)
        whole_peak, layer_peak = (
            peak_estimator(sharded_needs(by_layer=value), config, context=context)() for value in (False, True)
        )
        # unlike the free memory, the capacity is equal in all processes
        by_layer = plays_by_layer(config, fits=whole_peak <= USABLE * capacity(accelerator.device, local_processes))
        needs, advice = sharded_needs(by_layer=by_layer), "--sharded-play layers" if layer_peak <= free else ""
    check_memory(needs, config, context=context, free=free, advice=advice)
    if config.update.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    if plugin is not None:
        for actor_critic in models:
            _verify_packing(actor_critic, config)  # FSDP could not continue after an error within a layer
            shard(actor_critic, plugin, accelerator.device, by_layer=by_layer)
    return make_torch_optimizer(model, config.update)


def _verify_packing(model: ActorCritic, config: TrainConfig) -> None:
    for training in (True, False) if config.update.prefix_sharing == "auto" else ():
        with model.mode(training=training):
            can_pack(model)  # its result is cached
