"""The records of learning: what a rollout recorded, what to learn from it, what the network says now.

B segments of a token stream, padded on the right, times T choices that the agent made. Every record checks
its shapes when it is made, and refuses to exist when they do not fit. Nothing here computes anything.
"""

from dataclasses import dataclass, fields
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

from actde.errors import OptimizerError

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """What a rollout recorded, before the update; no gradient flows into it.

    Every number is finite, also on padding, where it is otherwise ignored. float32 or float64.
    """

    rewards: Tensor
    """[B, T] reward that choice t earned, before the next one."""
    discounts: Tensor
    """[B, T] gamma_t in [0, 1]: 1 inside a command, gamma^k between turns, 0 after a terminated episode."""
    mask: Tensor
    """[B, T] bool, True at choices, False on padding, which is on the right."""
    logprobs: Tensor
    """[B, T] log pi(a_t | s_t) of the policy that chose, nats."""
    values: Tensor
    """[B, T] v(s_t), in units of reward."""
    next_values: Tensor
    """[B, T] v(s_{t+1}); at a segment's end the bootstrap; of no effect where the discount is 0."""
    q_values: Tensor | None = None
    """[B, T] q(s_t, a_t), least over the heads, of the target heads where there are; None without Q heads."""
    ref_logprobs: Tensor | None = None
    """[B, T] log pi_ref(a_t | s_t) of the reference policy, nats; None where no KL is wanted."""

    def __post_init__(self) -> None:
        _check_grid(self, self.mask, shape_of="mask")
        if self.mask.dtype != torch.bool:
            raise ValueError(f"Batch.mask must be bool, got {self.mask.dtype}")
        if bool((self.mask[:, 1:] & ~self.mask[:, :-1]).any()):
            raise ValueError("Batch.mask must be padded on the right: a choice follows a gap")
        for name, tensor in _tensors(self).items():
            if tensor.requires_grad:
                raise ValueError(f"Batch.{name} was recorded in the rollout: detach its gradient")
            if not bool(torch.isfinite(tensor).all()):
                row, choice = (~torch.isfinite(tensor)).nonzero()[0].tolist()
                raise OptimizerError(
                    f"{name} is {tensor[row, choice].item()} at segment {row}, choice {choice}: "
                    "learning diverged (try a smaller learning rate) or the game gave such a reward"
                )
        if bool(((self.discounts < 0) | (self.discounts > 1)).any()):
            raise ValueError("Batch.discounts must lie in [0, 1]: gamma_t, and 0 after a terminated episode")

    def __len__(self) -> int:
        return len(self.mask)

    def __getitem__(self, rows: Tensor) -> Self:
        """The segments with these indices (int64, [b])."""
        return _rows(self, rows)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Targets:
    """What one rollout says should be learned; made once, by `Optimizer.targets`. 0 on padding."""

    advantages: Tensor
    """[B, T] what the policy is moved by; in units of reward, or of its own spread where whitened."""
    returns: Tensor
    """[B, T] lambda-return G_t, the target of v and of q, in units of reward."""

    def __post_init__(self) -> None:
        _check_grid(self, self.advantages, shape_of="advantages")

    def __len__(self) -> int:
        return len(self.advantages)

    def __getitem__(self, rows: Tensor) -> Self:
        """The segments with these indices (int64, [b])."""
        return _rows(self, rows)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outputs:
    """What the network says now about the choices of a `Batch`; gradient flows through it."""

    logprobs: Tensor
    """[B, T] log pi(a_t | s_t), nats."""
    entropy: Tensor
    """[B, T] entropy of pi(. | s_t), nats."""
    values: Tensor
    """[B, T] v(s_t), in units of reward."""
    q_values: Tensor | None = None
    """[B, T, H] q(s_t, a_t) of every Q head; None where q is not trained."""
    target_q_values: Tensor | None = None
    """[B, T] q(s_t, a_t), least over the target heads, without gradient; None without target heads."""
    kl: Tensor | None = None
    """[B, T] KL(pi(. | s_t) || pi_ref(. | s_t)), exact, nats; None where it is not asked for."""
    label_logprobs: Tensor | None = None
    """[B, T] log pi(label_t | s_t), nats, 0 where a choice has no label; None where no choice has one."""

    def __post_init__(self) -> None:
        _check_grid(self, self.logprobs, shape_of="logprobs", deep=("q_values",))
        if self.target_q_values is not None and self.target_q_values.requires_grad:
            raise ValueError("Outputs.target_q_values is a fixed target and carries no gradient; detach it")


def _tensors(record: Any) -> dict[str, Tensor]:
    values = {spec.name: getattr(record, spec.name) for spec in fields(record)}
    for name, value in values.items():
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(f"{type(record).__name__}.{name} must be a tensor, got {type(value).__name__}")
    return {name: value for name, value in values.items() if value is not None}


def _check_grid(record: Any, grid: Tensor, *, shape_of: str, deep: tuple[str, ...] = ()) -> None:
    """Every tensor is [B, T] like `grid` (`deep`: [B, T, H]), on its device, of float32 or float64."""
    kind, tensors = type(record).__name__, _tensors(record)
    if grid.ndim != 2 or 0 in grid.shape:
        raise ValueError(f"{kind}.{shape_of} must be [B, T] with B, T >= 1, got {list(grid.shape)}")
    for name, tensor in tensors.items():
        fits = tensor.ndim == 3 and tensor.shape[2] >= 1 if name in deep else tensor.ndim == 2
        if not fits or tensor.shape[:2] != grid.shape:
            wanted = [*grid.shape, "H"] if name in deep else list(grid.shape)
            raise ValueError(f"{kind}.{name} must be {wanted} like {shape_of}, got {list(tensor.shape)}")
        if tensor.dtype not in (torch.float32, torch.float64) and tensor.dtype != torch.bool:
            raise ValueError(f"{kind}.{name} must be float32 or float64, got {tensor.dtype}")
        if tensor.dtype == torch.bool and name != "mask":
            raise ValueError(f"{kind}.{name} must be float32 or float64, got torch.bool")
        if tensor.device != grid.device:
            raise ValueError(f"{kind}.{name} is on {tensor.device}, {shape_of} on {grid.device}")


def _rows(record: Record, rows: Tensor) -> Record:
    if not isinstance(rows, Tensor) or rows.dtype != torch.int64 or rows.ndim != 1:
        raise TypeError(f"rows must be an int64 tensor of one dimension, got {rows!r}")
    chosen = {name: tensor[rows] for name, tensor in _tensors(record).items()}
    return type(record)(**chosen)
