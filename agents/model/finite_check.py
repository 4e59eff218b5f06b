"""Detection of numbers that are infinite or NaN."""

from collections.abc import Mapping

from torch import Tensor

from agents.protocol import DivergenceError


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Raise `DivergenceError` with the name of the first tensor that holds an infinite number or NaN."""
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise DivergenceError(f"{name} is not finite")
