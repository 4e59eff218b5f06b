"""Master weights: float32 copies of bfloat16 parameters. Small gradient steps need the precision of float32."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


class MasterWeight(nn.Parameter):
    """The float32 copy of the bfloat16 parameter `rounded`."""

    rounded: nn.Parameter


def master_of(parameter: nn.Parameter) -> nn.Parameter:
    """Return the master weight of a parameter. A float32 parameter is its own master weight."""
    if parameter.dtype == torch.float32:
        return parameter
    master: MasterWeight | None = getattr(parameter, "master", None)
    if master is None:
        master = MasterWeight(parameter.detach().float())
        master.rounded, parameter.master = parameter, master  # type: ignore[attr-defined]
        parameter.register_post_accumulate_grad_hook(_move_gradient)  # type: ignore[no-untyped-call]
    master.data.copy_(parameter.data)
    return master


def optimized_parameters(torch_optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in torch_optimizer.param_groups for parameter in group["params"]]


def master_weights(torch_optimizer: torch.optim.Optimizer) -> Iterator[tuple[int, nn.Parameter]]:
    """Yield tuples (index of a parameter in the torch optimizer, master weight)."""
    return (
        (index, parameter)
        for index, parameter in enumerate(optimized_parameters(torch_optimizer))
        if isinstance(parameter, MasterWeight) or hasattr(parameter, "is_master")
    )


@torch.no_grad()
def round_to_parameters(torch_optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Copy the master weights into the bfloat16 parameters."""
    for _index, master in master_weights(torch_optimizer):
        if isinstance(master, MasterWeight):
            master.rounded.copy_(master)


def _move_gradient(parameter: Tensor) -> None:
    gradient, master = parameter.grad, parameter.master  # type: ignore[attr-defined]
    assert gradient is not None
    master.grad = gradient.float() if master.grad is None else master.grad.add_(gradient)
    parameter.grad = None
