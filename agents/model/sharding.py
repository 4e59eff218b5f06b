"""Sharded training with torch's FSDP2: each process stores a part of the trunk."""

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
    """Return the FSDP settings of `accelerate launch`, or None if the run is not sharded."""
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
    """Return how many bytes of trunk weights each process holds during play."""
    if not by_layer:
        return sum(parameter.nbytes for parameter in trunk_parameters(model))
    root, layer = unit_bytes(model)
    return root + 2 * layer  # one layer is gathered while another one computes


def unit_bytes(model: ActorCritic) -> tuple[int, int]:
    """Return the bytes of the trunk without decoder layers, and the bytes of the largest layer."""
    trunk = trunk_parameters(model)
    layers = [sum(p.nbytes for p in layer.parameters() if p in trunk) for layer in _layers(model)]
    return sum(p.nbytes for p in trunk) - sum(layers), max(layers, default=0)


def trunk_parameters(model: ActorCritic) -> dict[nn.Parameter, str]:
    """Return a dict: trunk parameter -> name. Heads and adapter are excluded."""
    named = model.named_parameters()
    return {p: name for name, p in named if not name.startswith("heads.") and "lora_" not in name}


def shard(model: ActorCritic, plugin: Any, device: torch.device, *, by_layer: bool = False) -> None:
    """Shard the trunk in place.

    The weights must be equal in all processes. If `by_layer` is True, play gathers the weights layer by layer.
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
    for unit in (*_layers(model), model):  # the root unit holds the embeddings, the last norm and the lm_head
        to_cast = [parameter for parameter in unit.parameters() if parameter in trunk] if with_masters else []
        for parameter in to_cast:
            parameter.data = parameter.data.float()
        fully_shard(unit, **settings)
        for parameter in to_cast:  # the model has shards instead; so only one unit at a time has float32 weights
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


def reshard(*models: nn.Module) -> None:
    """Free the gathered decoder layers of all models, and all other gathered weights of `models[0]`."""
    for model in models:
        for unit in _units(model):
            if unit is models[0] or unit is not model:  # gradient steps need the reference policy's lm_head
                unit.reshard()
            unit.set_reshard_after_forward(unit is not model, recurse=False)


def gather_trunk(*models: ActorCritic) -> None:
    """Gather the weights of each trunk. `reshard` frees the gathered weights.

    All processes must call `gather_trunk` together.
    """
    for model in models:
        units = _units(model)
        for unit in units[:1] if model.gathered_by_layer else units:  # the first one is the root unit
            unit.set_reshard_after_forward(False, recurse=False)
            unit.unshard()
            model.forget_conversions()


@contextmanager
def uneven_passes(*models: ActorCritic) -> Iterator[Callable[[], bool]]:
    """Let the processes run different numbers of forward passes within the context.

    All processes enter the context together. The yielded function returns whether a pass failed.
    """
    layered = [model for model in models if model.gathered_by_layer]
    passes = [model.hidden_states for model in layered]
    failed = False

    def wait_for_turn(model_index: int | None) -> None:
        # join the passes of other processes with an input of one token
        while (next_index := _next_index(layered, model_index)) != model_index:
            assert next_index is not None
            with torch.no_grad(), layered[next_index].mode(training=False):
                passes[next_index](
                    torch.zeros(1, 1, dtype=torch.int64, device=layered[next_index].device), use_cache=False
                )

    def waiting_pass(model_index: int) -> Callable[..., Tensor]:
        def hidden_states(*arguments: Any, **settings: Any) -> Tensor:
            nonlocal failed
            failed = True  # until the pass has succeeded
            wait_for_turn(model_index)
            states, failed = passes[model_index](*arguments, **settings), False
            return states

        return hidden_states

    for model_index, model in enumerate(layered):
        model.hidden_states = waiting_pass(model_index)  # type: ignore[method-assign]
    try:
        yield lambda: failed
    finally:
        for model, original_pass in zip(layered, passes, strict=True):
            model.hidden_states = original_pass  # type: ignore[method-assign]
        if layered and not failed:  # after a failed pass, this process must not communicate
            failed = True
            wait_for_turn(None)
            failed = False


@contextmanager
def sharded(*models: ActorCritic) -> Iterator[None]:
    """Shard the trunks for gradient steps within the context.

    All processes must run `models[0]` equally often. After the context, call `gather_trunk`.
    """
    reshard(*models)
    with warnings.catch_warnings():
        # some decoders return a view of their last hidden states, which no caller changes in place
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module")
        yield  # after an error, other processes have perhaps ended, so `gather_trunk` would wait for them


def local(tensor: Tensor) -> Tensor:
    """Return this process's part of a sharded tensor. Return an unsharded tensor unchanged."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """Gather a sharded tensor on the CPU (a collective operation). Return an unsharded tensor unchanged."""
    return tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor


def clip_gradients(parameters: Sequence[nn.Parameter], max_norm: float) -> Tensor:
    """Clip the total norm of the gradients, and return the norm before clipping."""
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


def _next_index(models: Sequence[ActorCritic], requested: int | None) -> int | None:
    """Return the smallest index requested in any process, or None. This is a collective operation."""
    requests = torch.zeros(len(models), device=models[0].device)
    if requested is not None:
        requests[requested] = 1
    torch.distributed.all_reduce(requests)
    return next((index for index, number in enumerate(requests.tolist()) if number), None)


def _layers(model: ActorCritic) -> list[nn.Module]:
    class_names = model.base._no_split_modules or ()
    return [module for module in model.lm.modules() if type(module).__name__ in class_names]


def _units(model: nn.Module) -> list[Any]:
    return [module for module in model.modules() if hasattr(module, "unshard")]
