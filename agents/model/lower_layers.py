"""Runs the lower and the upper layers of a decoder separately, to reuse the outputs of frozen layers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from agents.model.actor_critic import ActorCritic
from games.errors import is_out_of_memory

_verified: WeakKeyDictionary[ActorCritic, dict[int, bool]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class FrozenStates:
    """Hidden states [B, L, d] after the first `layers` decoder layers. None means all layers."""

    layers: int | None
    states: Tensor


def layer_list(model: ActorCritic) -> nn.ModuleList | None:
    """Return the module list of the decoder's layers, or None without such a list."""
    children = model.decoder.children() if isinstance(model.decoder, nn.Module) else ()
    lists = [m for m in children if isinstance(m, nn.ModuleList) and len(m) == model.layers > 0]
    return lists[0] if len(lists) == 1 else None


def decoder_layers(model: ActorCritic) -> list[nn.Module]:
    """Return the decoder's layers in order, or [] without a list of layers."""
    return list(layer_list(model) or ())


def frozen_layers(model: ActorCritic) -> int:
    """Return the number of lower layers whose outputs do not change in training."""
    layers = decoder_layers(model)
    trained = {parameter for parameter in model.lm.parameters() if parameter.requires_grad}
    trained_layers = [index for index, layer in enumerate(layers) if not trained.isdisjoint(layer.parameters())]
    in_layers = {parameter for layer in layers for parameter in layer.parameters()}
    if not trained_layers or not trained_layers[0] or model.noisy_trunk or not trained <= in_layers:
        return 0
    verified = _verified.setdefault(model, {})
    if trained_layers[0] not in verified:
        verified[trained_layers[0]] = _verify(model, trained_layers[0])
    return trained_layers[0] if verified[trained_layers[0]] else 0


@contextmanager
def lower_layers_only(model: ActorCritic, count: int | None) -> Iterator[list[Tensor]]:
    """Within the context, run only the first `count` layers.

    Each forward pass appends the resulting hidden states [B, L, d] to the yielded list.
    """
    layers, layer_states = decoder_layers(model), list[Tensor]()
    if count is None:  # all layers run, and the list stays empty
        yield layer_states
        return
    hook = layers[count - 1].register_forward_hook(lambda module, inputs, output: layer_states.append(output))
    try:
        with _bypass_layers(layer_states, layers[count:]):
            yield layer_states
    finally:
        hook.remove()


@contextmanager
def upper_layers_only(model: ActorCritic, lower: FrozenStates | None) -> Iterator[None]:
    """Within the context, use `lower.states` as the output of the first `lower.layers` layers.

    With gradient checkpointing, run the backward pass in the context, too.
    """
    with _bypass_layers([lower.states], decoder_layers(model)[: lower.layers]) if lower else nullcontext():
        yield


@contextmanager
def _bypass_layers(outputs: list[Tensor], layers: Sequence[nn.Module]) -> Iterator[None]:
    """Within the context, make each layer return `outputs[-1]`."""
    # a skipped layer stays in the decoder, because some decoders choose a layer's attention by its index
    for layer in layers:
        layer.forward = lambda *inputs, **kwargs: outputs[-1]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


@torch.no_grad()
def _verify(model: ActorCritic, count: int) -> bool:
    """Return whether separate passes through the lower and the upper layers reproduce a full pass."""
    tokens = torch.tensor([[0, 1, 1, 0, 1], [0, 0, 1, 1, 0]], device=model.device)  # every vocabulary has two tokens
    try:
        with model.mode(training=False):
            plain = model.hidden_states(tokens, use_cache=False)
            with lower_layers_only(model, count) as lower:
                model.hidden_states(tokens, use_cache=False)
            if not isinstance(lower[0], Tensor) or lower[0].shape[:2] != tokens.shape or lower[0].dim() != 3:
                return False  # some decoders return tuples, or several states per token
            with upper_layers_only(model, FrozenStates(count, lower[0])):
                states = model.hidden_states(tokens, use_cache=False)
    except (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
        if is_out_of_memory(error):
            raise
        return False
    difference = float(((states - plain).norm(dim=-1) / plain.norm(dim=-1)).max())
    return difference < (1e-4 if model.dtype == torch.float32 else 0.01)
