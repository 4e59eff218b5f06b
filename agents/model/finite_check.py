"""A check for infinite numbers and NaN."""

from collections.abc import Mapping

from torch import Tensor

from agents.protocol import DivergenceError


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Raise DivergenceError if a tensor contains infinity or NaN."""
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise DivergenceError(f"{name} is not finite")
