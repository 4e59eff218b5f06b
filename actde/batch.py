"""Data of an update: the recorded `Batch`, its `Targets`, and the network's current `Outputs`.

Tensors have the shape [B, T]: B segments of a token stream, padded on the right to T choices. A choice is an action of
the agent, such as a token that the agent sampled among several. The constructors check shapes, data types and devices.
"""

from dataclasses import dataclass, fields
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

from actde.errors import OptimizerError

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Numbers that a rollout recorded, without gradient.

    All tensors except the mask are float32 or float64. Values on padding are ignored, but they must also be finite.

    Raises:
        OptimizerError: a number is not finite.
        ValueError: a shape, a data type, a device, the mask or a discount is wrong.
    """

    rewards: Tensor
    """[B, T] reward between choice t and the next choice."""
    discounts: Tensor
    """[B, T] gamma_t in [0, 1].

    gamma_t is 1 between two choices of a command and gamma^k across k turns. It is 0 if the episode terminates before
    another choice.
    """
    mask: Tensor
    """[B, T] bool, True at choices and False on padding."""
    logprobs: Tensor
    """[B, T] log pi_old(a_t | s_t) in nats, where pi_old is the policy that the rollout used."""
    values: Tensor
    """[B, T] v(s_t), in units of reward."""
    next_values: Tensor
    """[B, T] v(s_{t+1}), or the bootstrap value at the end of a segment. The value is ignored if gamma_t = 0."""
    q_values: Tensor | None = None
    """[B, T] q(s_t, a_t), in units of reward. None if q was not recorded.

    q is the minimum over the target heads. Without target heads, q is the minimum over the Q heads.
    """
    ref_logprobs: Tensor | None = None
    """[B, T] log pi_ref(a_t | s_t) of the reference policy, nats. None if no KL is computed."""

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
        """Return the segments with the indices `rows`, an int64 tensor of shape [b]."""
        return _rows(self, rows)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Targets:
    """Advantages and returns of a rollout, computed once by `Optimizer.targets`. They are 0 on padding."""

    advantages: Tensor
    """[B, T] A_t, the weights of the policy gradient, in units of reward. Whitened advantages have no unit."""
    returns: Tensor
    """[B, T] lambda-returns G_t, the regression target of v and of q, in units of reward."""

    def __post_init__(self) -> None:
        _check_tensors(self, self.advantages, "advantages")

    def __len__(self) -> int:
        return len(self.advantages)

    def __getitem__(self, rows: Tensor) -> Self:
        """Return the segments with the indices `rows`, an int64 tensor of shape [b]."""
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
    """[B, T, H] q(s_t, a_t) of each of the H Q heads. None if q is not trained."""
    target_q_values: Tensor | None = None
    """[B, T] q(s_t, a_t), the minimum over the target heads, without gradient. None without target heads."""
    kl: Tensor | None = None
    """[B, T] exact KL(pi(. | s_t) || pi_ref(. | s_t)), nats. None if no KL is computed."""
    label_logprobs: Tensor | None = None
    """[B, T] log pi(label_t | s_t) in nats, where label_t is the action to imitate.

    The log-probability is set to 0 at choices without a label. None if no choice has a label.
    """

    def __post_init__(self) -> None:
        _check_tensors(self, self.logprobs, "logprobs", per_head=("q_values",))
        if self.target_q_values is not None and self.target_q_values.requires_grad:
            raise ValueError("Outputs.target_q_values is a fixed target: detach its gradient")


def _tensors(record: Any) -> dict[str, Tensor]:
    """Return a dict from field names to the tensors of a record. Fields that are None are left out."""
    values = {spec.name: getattr(record, spec.name) for spec in fields(record)}
    for name, value in values.items():
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(f"{type(record).__name__}.{name} must be a tensor, got {type(value).__name__}")
    return {name: value for name, value in values.items() if value is not None}


def _check_tensors(record: Any, like: Tensor, name_of_like: str, *, per_head: tuple[str, ...] = ()) -> None:
    """Check that every tensor of a record has the shape [B, T] and the device of the tensor `like`.

    The tensors named in `per_head` have the shape [B, T, H] instead. All tensors except the mask must be float32 or
    float64.
    """
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
