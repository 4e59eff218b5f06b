"""float32 master weights of bfloat16 parameters.

bfloat16 has 8 significant bits, so a small step does not change a weight: a weight of 1 ignores steps below 0.002. The
torch optimizer therefore updates a float32 copy of each weight, the master weight. The parameter is the rounded master
weight. Gradients are also accumulated in float32.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


class MasterWeight(nn.Parameter):
    """A float32 copy of the bfloat16 parameter `rounded`. It receives the gradients of this parameter."""

    rounded: nn.Parameter


def master_of(parameter: nn.Parameter) -> nn.Parameter:
    """Return the master weight of a bfloat16 parameter. A float32 parameter is its own master weight."""
    if parameter.dtype == torch.float32:
        return parameter
    master: MasterWeight | None = getattr(parameter, "master", None)
    if master is None:
        master = MasterWeight(parameter.detach().float())
        master.rounded, parameter.master = parameter, master  # type: ignore[attr-defined]
        parameter.register_post_accumulate_grad_hook(_move_gradient)  # type: ignore[no-untyped-call]
    master.data.copy_(parameter.data)
    return master


def stepped(torch_optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """Return the parameters that the torch optimizer updates. Their `grad` attributes hold the gradients."""
    return [parameter for group in torch_optimizer.param_groups for parameter in group["params"]]


def master_weights(torch_optimizer: torch.optim.Optimizer) -> Iterator[tuple[int, nn.Parameter]]:
    """Yield each master weight with its index among the parameters of the torch optimizer.

    The master weights of a sharded trunk are its float32 shards. They are rounded to bfloat16 when they are gathered
    (`agents.model.sharding`).
    """
    return (
        (index, master)
        for index, master in enumerate(stepped(torch_optimizer))
        if isinstance(master, MasterWeight) or hasattr(master, "is_master")
    )


@torch.no_grad()
def round_to_parameters(torch_optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Copy the master weights into the bfloat16 parameters, as a hook after each gradient step."""
    for _index, master in master_weights(torch_optimizer):
        if isinstance(master, MasterWeight):
            master.rounded.copy_(master)


def _move_gradient(parameter: Tensor) -> None:
    gradient, master = parameter.grad, parameter.master  # type: ignore[attr-defined]
    assert gradient is not None
    master.grad = gradient.float() if master.grad is None else master.grad.add_(gradient)
    parameter.grad = None
