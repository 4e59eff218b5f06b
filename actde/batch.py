"""Data of an update: the recorded `Batch`, its `Targets`, and the network's current `Outputs`.

Tensors are [B, T]: B segments of a token stream, padded on the right, with T choices of the agent. The constructors
check shapes, data types and devices.
"""

from dataclasses import dataclass, fields
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

from actde.errors import OptimizerError

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """What a rollout recorded, without gradient: float32 or float64, and finite on padding too, which is ignored.

    Raises:
        OptimizerError: a number is not finite.
        ValueError: a shape, a data type, a device, the mask or a discount is wrong.
    """

    rewards: Tensor
    """[B, T] reward between choice t and the next one."""
    discounts: Tensor
    """[B, T] gamma_t in [0, 1]: 1 inside a command, gamma^k over k turns, 0 at the end of a terminated episode."""
    mask: Tensor
    """[B, T] bool, True at choices, False on padding."""
    logprobs: Tensor
    """[B, T] log pi_old(a_t | s_t) of the policy that played, nats."""
    values: Tensor
    """[B, T] v(s_t), in units of reward."""
    next_values: Tensor
    """[B, T] v(s_{t+1}); at the end of a segment the bootstrap value. Ignored where the discount is 0."""
    q_values: Tensor | None = None
    """[B, T] q(s_t, a_t), the minimum over the target heads, or over the Q heads if there are none. None: no q."""
    ref_logprobs: Tensor | None = None
    """[B, T] log pi_ref(a_t | s_t) of the reference policy, nats. None: no KL."""

    def __post_init__(self) -> None:
        _check_tensors(self, self.mask, "mask")
        if self.mask.dtype != torch.bool:
            raise ValueError(f"Batch.mask must be bool, got {self.mask.dtype}")
        if bool((self.mask[:, 1:] & ~self.mask[:, :-1]).any()):
            raise ValueError("Batch.mask must be padded on the right, got a choice after padding")
        for name, tensor in _tensors(self).items():
            if tensor.requires_grad:
                raise ValueError(f"Batch.{name} was recorded in the rollout: detach its gradient")
            if not bool(torch.isfinite(tensor).all()):
                row, choice = (~torch.isfinite(tensor)).nonzero()[0].tolist()
                raise OptimizerError(
                    f"{name} is {tensor[row, choice].item()} at segment {row}, choice {choice}: "
                    "training diverged (try a smaller learning rate) or the game gave such a reward"
                )
        if bool(((self.discounts < 0) | (self.discounts > 1)).any()):
            raise ValueError("Batch.discounts must lie in [0, 1]: gamma_t, and 0 after a terminated episode")

    def __len__(self) -> int:
        return len(self.mask)

    def __getitem__(self, rows: Tensor) -> Self:
        """The segments with these indices, int64 [b]."""
        return _rows(self, rows)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Targets:
    """What the networks learn from a rollout, computed once by `Optimizer.targets`; 0 on padding."""

    advantages: Tensor
    """[B, T] A_t, weights of the policy gradient; in units of reward, or of standard deviations if whitened."""
    returns: Tensor
    """[B, T] lambda-returns G_t, the target of v and of q, in units of reward."""

    def __post_init__(self) -> None:
        _check_tensors(self, self.advantages, "advantages")

    def __len__(self) -> int:
        return len(self.advantages)

    def __getitem__(self, rows: Tensor) -> Self:
        """The segments with these indices, int64 [b]."""
        return _rows(self, rows)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outputs:
    """The network's current outputs at the choices of a `Batch`, with gradient."""

    logprobs: Tensor
    """[B, T] log pi(a_t | s_t), nats."""
    entropy: Tensor
    """[B, T] entropy of pi(. | s_t), nats."""
    values: Tensor
    """[B, T] v(s_t), in units of reward."""
    q_values: Tensor | None = None
    """[B, T, H] q(s_t, a_t) of every Q head. None: q is not trained."""
    target_q_values: Tensor | None = None
    """[B, T] q(s_t, a_t), the minimum over the target heads, without gradient. None: no target heads."""
    kl: Tensor | None = None
    """[B, T] KL(pi(. | s_t) || pi_ref(. | s_t)), exact, nats. None: no KL."""
    label_logprobs: Tensor | None = None
    """[B, T] log pi(label_t | s_t), nats, 0 for choices without a label. None: no choice has one."""

    def __post_init__(self) -> None:
        _check_tensors(self, self.logprobs, "logprobs", per_head=("q_values",))
        if self.target_q_values is not None and self.target_q_values.requires_grad:
            raise ValueError("Outputs.target_q_values is a fixed target: detach its gradient")


def _tensors(record: Any) -> dict[str, Tensor]:
    """The tensors of a record by field name, without those that are None."""
    values = {spec.name: getattr(record, spec.name) for spec in fields(record)}
    for name, value in values.items():
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(f"{type(record).__name__}.{name} must be a tensor, got {type(value).__name__}")
    return {name: value for name, value in values.items() if value is not None}


def _check_tensors(record: Any, like: Tensor, name_of_like: str, *, per_head: tuple[str, ...] = ()) -> None:
    """Check that every tensor is float [B, T] (`per_head`: [B, T, H]) on one device, as `like` is."""
    kind = type(record).__name__
    if like.ndim != 2 or 0 in like.shape:
        raise ValueError(f"{kind}.{name_of_like} must be [B, T] with B, T >= 1, got {list(like.shape)}")
    for name, tensor in _tensors(record).items():
        fits = tensor.ndim == 3 and tensor.shape[2] >= 1 if name in per_head else tensor.ndim == 2
        if not fits or tensor.shape[:2] != like.shape:
            shape = [*like.shape, "H"] if name in per_head else list(like.shape)
            raise ValueError(f"{kind}.{name} must be {shape} like {name_of_like}, got {list(tensor.shape)}")
        if name != "mask" and tensor.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"{kind}.{name} must be float32 or float64, got {tensor.dtype}")
        if tensor.device != like.device:
            raise ValueError(f"{kind}.{name} is on {tensor.device}, {name_of_like} on {like.device}")


def _rows(record: Record, rows: Tensor) -> Record:
    if not isinstance(rows, Tensor) or rows.dtype != torch.int64 or rows.ndim != 1:
        raise TypeError(f"rows must be an int64 tensor of one dimension, got {rows!r}")
    return type(record)(**{name: tensor[rows] for name, tensor in _tensors(record).items()})
