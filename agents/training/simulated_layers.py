"""Removes layers of a decoder for a while, so that memory can be simulated with few layers."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from agents.model.actor_critic import ActorCritic
from agents.model.lower_layers import layer_list
from agents.model.sharding import trunk_parameters


def equal_layers(model: ActorCritic) -> nn.ModuleList | None:
    """Return the decoder's layers, or None if their parameters differ in names, shapes or `requires_grad`."""
    layers = layer_list(model)
    shapes = [[(name, p.shape, p.requires_grad) for name, p in layer.named_parameters()] for layer in layers or ()]
    return layers if all(shape == shapes[0] for shape in shapes) else None


@contextmanager
def first_layers_only(layers: nn.ModuleList | None, count: int | None) -> Iterator[None]:
    """Remove all but the first `count` layers within the context. Remove none if `layers` is None."""
    if layers is None:
        yield
        return
    every = layers._modules
    layers._modules = dict(list(every.items())[:count])
    try:
        yield
    finally:
        layers._modules = every


def remaining_layers(fake: ActorCritic) -> list[nn.Module]:
    """Return the layers of a copy that was made within `first_layers_only`, or [] if it has no list of layers."""
    modules = fake.decoder.modules() if isinstance(fake.decoder, nn.Module) else ()
    lists = [m for m in modules if isinstance(m, nn.ModuleList) and 0 < len(m) <= fake.layers]
    return list(max(lists, key=len, default=[]))


def root_parameters(fake: ActorCritic) -> set[nn.Parameter]:
    """Return the parameters of the trunk that are in no layer, such as embeddings."""
    return trunk_parameters(fake).keys() - {p for layer in remaining_layers(fake) for p in layer.parameters()}
