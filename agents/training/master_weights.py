"""float32 master weights of bfloat16 parameters.

bfloat16 has 8 significant bits, so a small step does not change a weight. A weight of 1, for example, does not change
if the step is below 0.002. The torch optimizer therefore updates a float32 copy of each weight, the master weight. The
parameter is the rounded master weight. Gradients are also accumulated in float32.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


class MasterWeight(nn.Parameter):
    """A float32 copy of a bfloat16 parameter. It receives the gradients of the parameter.

    Attributes:
        rounded: the bfloat16 parameter.
    """

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
    """Return the parameters that the torch optimizer updates. These parameters hold the gradients."""
    return [parameter for group in torch_optimizer.param_groups for parameter in group["params"]]


def master_weights(torch_optimizer: torch.optim.Optimizer) -> Iterator[tuple[int, nn.Parameter]]:
    """Yield each master weight with its index among the parameters of the torch optimizer.

    A master weight is an instance of `MasterWeight` or, if the trunk is sharded, a float32 shard that is rounded to
    bfloat16 when it is gathered (`agents.model.sharding`).
    """
    return (
        (index, master)
        for index, master in enumerate(stepped(torch_optimizer))
        if isinstance(master, MasterWeight) or hasattr(master, "is_master")
    )


@torch.no_grad()
def round_to_parameters(torch_optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Copy the master weights into the bfloat16 parameters. This hook runs after each gradient step."""
    for _index, master in master_weights(torch_optimizer):
        if isinstance(master, MasterWeight):
            master.rounded.copy_(master)


def _move_gradient(parameter: Tensor) -> None:
    gradient, master = parameter.grad, parameter.master  # type: ignore[attr-defined]
    assert gradient is not None
    master.grad = gradient.float() if master.grad is None else master.grad.add_(gradient)
    parameter.grad = None
