"""Sharded training: each process stores a part of the trunk's weights, gradients and optimizer state (torch's FSDP2).

`accelerate launch --config_file configs/fsdp2.yaml` turns sharding on. Each decoder layer is a unit: its weights are
gathered from all processes before its forward and backward passes. The embeddings, the last norm and the lm_head form
the root unit. The heads and the adapter are small, so they are replicated, as in data parallelism.

Gradient steps run in the context `sharded`. Outside of it, for example during play, a trunk is gathered in one of two
ways:

* Whole: forward passes need no communication, so the processes may play different numbers of turns.
* By layer: only the root unit is whole. Each pass gathers one layer after the other, in all processes together. A
  process that has no pass to run joins with a pass over a single token (`in_step`).
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import FullyShardedDataParallelPlugin, parse_flag_from_env
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.utils import clip_grad_norm_, get_total_norm

from agents.model.actor_critic import ActorCritic
from agents.protocol import AgentError


def sharding_plugin() -> Any:
    """Return the FSDP settings of `accelerate launch`, or None if the trunk is not sharded.

    Raises:
        AgentError: the settings are those of FSDP1, or torch is too old.
    """
    if not parse_flag_from_env("ACCELERATE_USE_FSDP"):
        return None
    from torch.distributed.fsdp import FSDPModule

    if not hasattr(FSDPModule, "set_reduce_scatter_unused_params"):
        raise AgentError(f"a sharded trunk needs torch 2.13 or newer, and {torch.__version__} is installed")
    plugin = FullyShardedDataParallelPlugin()
    if plugin.fsdp_version != 2:
        raise AgentError(f"accelerate's configuration has fsdp_version {plugin.fsdp_version}: expected 2")
    return plugin


def gathered_bytes(model: ActorCritic, *, by_layer: bool) -> int:
    """Return the size in bytes of the trunk's weights that a process holds during play."""
    if not by_layer:
        return sum(parameter.nbytes for parameter in trunk_parameters(model))
    root, layer = unit_bytes(model)
    return root + 2 * layer  # one layer is gathered while another one computes


def unit_bytes(model: ActorCritic) -> tuple[int, int]:
    """Return the sizes of the root unit and of the largest layer, in bytes."""
    trunk = trunk_parameters(model)
    layers = [sum(p.nbytes for p in layer.parameters() if p in trunk) for layer in _layers(model)]
    return sum(p.nbytes for p in trunk) - sum(layers), max(layers, default=0)


def trunk_parameters(model: ActorCritic) -> dict[nn.Parameter, str]:
    """Return the parameters that are sharded, with their names. The heads and the adapter are not sharded."""
    named = model.named_parameters()
    return {p: name for name, p in named if not name.startswith("heads.") and "lora_" not in name}


def shard(model: ActorCritic, plugin: Any, device: torch.device, *, by_layer: bool = False) -> None:
    """Shard the trunk of a model in place. All processes must have equal weights.

    If a bfloat16 trunk is trained, its shards are float32 master weights. FSDP gathers them in bfloat16.

    Args:
        plugin: the result of `sharding_plugin`.
        device: the device of the heads and the adapter. FSDP moves the trunk itself.
        by_layer: whether the trunk is gathered by layer outside of gradient steps.
    """
    # accelerate's own preparation refuses CPUs and needs a torch optimizer, whose parameters it replaces
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

    trunk = trunk_parameters(model)
    replicated = {parameter for parameter in model.parameters() if parameter not in trunk}
    with_masters = model.dtype == torch.bfloat16 and any(parameter.requires_grad for parameter in trunk)
    settings: dict[str, Any] = {"offload_policy": plugin.cpu_offload, "ignored_params": replicated}
    if with_masters:
        settings["mp_policy"] = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    for parameter in replicated:
        parameter.data = parameter.data.to(device)
    for unit in (*_layers(model), model):
        unsharded = [parameter for parameter in unit.parameters() if parameter in trunk] if with_masters else []
        for parameter in unsharded:
            parameter.data = parameter.data.float()
        fully_shard(unit, **settings)
        for parameter in unsharded:  # the model has shards instead; so only one unit at a time has float32 weights
            parameter.data = parameter.data.new_empty(0)
    model.gathered_by_layer = by_layer
    # `forward` calls it, too, but must not be called itself: nested calls free the gathered weights
    register_fsdp_forward_method(model, "hidden_states")
    for unit in _units(model):
        unit.set_gradient_divide_factor(1.0)  # the loss is already divided by the number of actions of all processes
        unit.set_force_sum_reduction_for_comms(True)  # gloo has no other reduction
        unit.set_reduce_scatter_unused_params(True)  # otherwise, processes would have to use the same parameters
    model.shards = {name: parameter for parameter, name in trunk_parameters(model).items()}
    for parameter in model.shards.values() if with_masters else ():
        if parameter.requires_grad:
            parameter.is_master = True  # type: ignore[attr-defined]


def is_sharded(model: nn.Module) -> bool:
    return bool(_units(model))


def shard_again(*models: nn.Module) -> None:
    """Free the weights that `gather_trunk` has gathered. `models[0]` is the trained model.

    The root units of the other models stay gathered, because gradient steps need the reference policy's lm_head.
    """
    for model in models:
        for unit in _units(model):
            if unit is models[0] or unit is not model:
                unit.reshard()
            unit.set_reshard_after_forward(unit is not model, recurse=False)


def gather_trunk(*models: ActorCritic) -> None:
    """Gather the trunks of `models` until `shard_again` is called. All processes must call this function together.

    If a trunk is gathered by layer, only its root unit is gathered. A model that is not sharded is left unchanged.
    """
    for model in models:
        units = _units(model)
        for unit in units[:1] if model.gathered_by_layer else units:  # the first one is the root unit
            unit.set_reshard_after_forward(False, recurse=False)
            unit.unshard()
            model.forget_conversions()


@contextmanager
def in_step(*models: ActorCritic) -> Iterator[Callable[[], bool]]:
    """Let each process run any number of forward passes of `models` within the context, in any order.

    All processes must enter the context together. If a trunk is gathered by layer, each of its passes needs all
    processes. Before such a pass, the processes agree on the first of these models for which any process has a pass to
    run. A process that has no pass of this model runs the model on a single token. A process that reaches the end of
    the context runs single-token passes until all processes have reached it.

    The context yields a function. It returns True if an error has occurred in this process while the process ran a pass
    or waited for one. The other processes are then still waiting, so this process must no longer communicate.
    """
    layered = [model for model in models if model.gathered_by_layer]
    passes = [model.hidden_states for model in layered]
    failed = False

    def wait_for_turn(own: int | None) -> None:
        """Run single-token passes until a pass of `layered[own]` is due or, if `own` is None, until no pass is left."""
        while (due := _due(layered, own)) != own:
            assert due is not None
            with torch.no_grad(), layered[due].mode(training=False):
                passes[due](torch.zeros(1, 1, dtype=torch.int64, device=layered[due].device), use_cache=False)

    def waiting(own: int) -> Callable[..., Tensor]:
        def hidden_states(*arguments: Any, **settings: Any) -> Tensor:
            nonlocal failed
            failed = True  # until the pass has succeeded
            wait_for_turn(own)
            states, failed = passes[own](*arguments, **settings), False
            return states

        return hidden_states

    for own, model in enumerate(layered):
        model.hidden_states = waiting(own)  # type: ignore[method-assign]
    try:
        yield lambda: failed
    finally:
        for model, own_pass in zip(layered, passes, strict=True):
            model.hidden_states = own_pass  # type: ignore[method-assign]
        if layered and not failed:
            failed = True
            wait_for_turn(None)
            failed = False


@contextmanager
def sharded(*models: ActorCritic) -> Iterator[None]:
    """A context for gradient steps. At its start, the gathered trunks are freed with `shard_again`.

    All processes must run the same number of forward and backward passes of the trained model, `models[0]`. The context
    does not gather the trunks again: call `gather_trunk` afterwards. After an error, do not call `gather_trunk`: it
    needs all processes, and other processes may have ended.
    """
    shard_again(*models)
    with warnings.catch_warnings():
        # some decoders return a view of their last hidden states, which no caller changes in place
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module")
        yield


def local(tensor: Tensor) -> Tensor:
    """Return this process's part of a sharded tensor, or any other tensor unchanged."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """Return the whole of a sharded tensor on the CPU, or any other tensor unchanged.

    For a sharded tensor, all processes must call this function together.
    """
    return tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor


def clip_gradients(parameters: Sequence[nn.Parameter], max_norm: float) -> Tensor:
    """Clip the gradients as torch's `clip_grad_norm_` does, and return their norm. Some gradients may be sharded."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    shards = [gradient for gradient in gradients if isinstance(gradient, DTensor)]
    if not shards:
        return clip_grad_norm_(parameters, max_norm)
    norms = [get_total_norm(shards), get_total_norm([g for g in gradients if not isinstance(g, DTensor)])]
    norm: Tensor = torch.linalg.vector_norm(torch.stack([whole(norm).to(norms[1].device) for norm in norms]))
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    for gradient in map(local, gradients):
        gradient.mul_(scale.to(gradient.device))
    return norm


def _due(models: Sequence[ActorCritic], own: int | None) -> int | None:
    """Return the smallest `own` of all processes, or None if all are None. All processes must call this together.

    `own` is the index of the model that this process will run next, or None if it has no pass left.
    """
    wanted = torch.zeros(len(models), device=models[0].device)
    if own is not None:
        wanted[own] = 1
    torch.distributed.all_reduce(wanted)
    return next((index for index, number in enumerate(wanted.tolist()) if number), None)


def _layers(model: ActorCritic) -> list[nn.Module]:
    kinds = model.base._no_split_modules or ()
    return [module for module in model.lm.modules() if type(module).__name__ in kinds]


def _units(model: nn.Module) -> list[Any]:
    return [module for module in model.modules() if hasattr(module, "unshard")]
