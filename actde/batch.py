"""The tensors of an update.

In [B, T], a row is a segment (all or part of an episode), and a column is an action.
"""

from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from actde.errors import OptimizerError


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """Base class of records whose fields are tensors or None."""

    def __len__(self) -> int:
        return len(next(iter(self.tensors().values())))

    def __getitem__(self, rows: Tensor) -> Self:
        """Return the segments with indices `rows`, int64 [b]."""
        if not isinstance(rows, Tensor) or rows.dtype != torch.int64 or rows.ndim != 1:
            raise TypeError(f"rows must be an int64 tensor of one dimension, got {rows!r}")
        return type(self)(**{name: tensor[rows] for name, tensor in self.tensors().items()})

    def tensors(self) -> dict[str, Tensor]:
        """Return the fields that are not None, by name."""
        values = {spec.name: getattr(self, spec.name) for spec in fields(self)}
        for name, value in values.items():
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(f"{type(self).__name__}.{name} must be a tensor, got {type(value).__name__}")
        return {name: value for name, value in values.items() if value is not None}

    def _check(self, template: str, *, per_head: tuple[str, ...] = (), per_segment: tuple[str, ...] = ()) -> None:
        """Raise ValueError if a tensor has a wrong shape, dtype or device.

        Fields are [B, T] like the field `template`, except `per_head` [B, T, H] for H heads, and `per_segment`, int64
        [B].
        """
        class_name, tensors = type(self).__name__, self.tensors()
        template_tensor = tensors[template]
        if template_tensor.ndim != 2 or 0 in template_tensor.shape:
            raise ValueError(
                f"{class_name}.{template} must be [B, T] with B, T >= 1, got {list(template_tensor.shape)}"
            )
        for name, tensor in tensors.items():
            dimensions = 3 if name in per_head else 1 if name in per_segment else 2
            shape = [*template_tensor.shape, "H"][:dimensions]
            if tensor.ndim != dimensions or tensor.shape[:2] != template_tensor.shape[:dimensions] or 0 in tensor.shape:
                raise ValueError(f"{class_name}.{name} must be {shape} like {template}, got {list(tensor.shape)}")
            if name in per_segment and tensor.dtype != torch.int64:
                raise ValueError(f"{class_name}.{name} must be int64, got {tensor.dtype}")
            if name not in ("mask", *per_segment) and tensor.dtype not in (torch.float32, torch.float64):
                raise ValueError(f"{class_name}.{name} must be float32 or float64, got {tensor.dtype}")
            if tensor.device != template_tensor.device:
                raise ValueError(f"{class_name}.{name} is on {tensor.device}, {template} on {template_tensor.device}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch(Record):
    """What a rollout recorded. Tensors are floats [B, T] without gradient, unless stated otherwise.

    Rewards, values and q are in units of reward. Log-probabilities are in nats. Entries on padding are ignored, but
    must be finite. Optional fields are None if the optimizer does not need them.

    Attributes:
        rewards: r_t, the discounted sum of the rewards between an action and the next action.
        discounts: gamma_t, the discount between an action and the next action, or 0 at the end of a terminated episode.
        mask: bool, True at actions and False on padding, which is on the right.
        logprobs: log pi_old(a_t | s_t), where pi_old is the policy of the rollout.
        values: v(s_t).
        next_values: v(s_{t+1}), or the bootstrap value at the end of a segment. Ignored if gamma_t = 0.
        q_values: q(s_t, a_t), the minimum over the Q heads.
        ref_logprobs: log pi_ref(a_t | s_t), where pi_ref is the reference policy.
        episodes: [B] int64, the index of each segment's episode.
        groups: [B] int64, the index of each segment's group. The episodes of a group start from the same state.

    Raises:
        OptimizerError: a number is not finite.
        ValueError: a shape, data type or device is wrong, or a tensor has a gradient.
    """

    rewards: Tensor
    discounts: Tensor
    mask: Tensor
    logprobs: Tensor
    values: Tensor
    next_values: Tensor
    q_values: Tensor | None = None
    ref_logprobs: Tensor | None = None
    episodes: Tensor | None = None
    groups: Tensor | None = None

    def __post_init__(self) -> None:
        self._check("mask", per_segment=("episodes", "groups"))
        if self.mask.dtype != torch.bool:
            raise ValueError(f"Batch.mask must be bool, got {self.mask.dtype}")
        if bool((self.mask[:, 1:] & ~self.mask[:, :-1]).any()):
            raise ValueError("Batch.mask must be padded on the right, got a choice after padding")
        for name, tensor in self.tensors().items():
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Targets(Record):
    """Tensors [B, T] for the losses of a rollout, 0 on padding.

    Attributes:
        advantages: A_t, the weights of the policy gradient.
        returns: G_t, the lambda-returns to which v and q are fitted.
    """

    advantages: Tensor
    returns: Tensor

    def __post_init__(self) -> None:
        self._check("advantages")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outputs(Record):
    """The network's current outputs for a `Batch`. Tensors are floats [B, T], unless stated otherwise.

    Values and q are in units of reward. All other fields are in nats. Optional fields are None if the optimizer does
    not need them, or if the network lacks these heads.

    Attributes:
        logprobs: log pi(a_t | s_t), where pi is the current policy.
        entropy: entropy of pi(. | s_t).
        values: v(s_t).
        q_values: [B, T, H] q(s_t, a_t) of each of the H Q heads.
        target_q_values: minimum of q(s_t, a_t) over the target heads, without gradient.
        q_logprobs: [B, T, H] log softmax(q(s_t, .)) at a_t for each Q head.
        expected_q: sum_a pi(a | s_t) q(s_t, a), with a gradient through pi only.
        kl: exact KL(pi(. | s_t) || pi_ref(. | s_t)).
        label_logprobs: log pi(label_t | s_t) of the action label_t to imitate, or 0 without a label.
    """

    logprobs: Tensor
    entropy: Tensor
    values: Tensor
    q_values: Tensor | None = None
    target_q_values: Tensor | None = None
    q_logprobs: Tensor | None = None
    expected_q: Tensor | None = None
    kl: Tensor | None = None
    label_logprobs: Tensor | None = None

    def __post_init__(self) -> None:
        self._check("logprobs", per_head=("q_values", "q_logprobs"))
        if self.target_q_values is not None and self.target_q_values.requires_grad:
            raise ValueError("Outputs.target_q_values is a fixed target: detach its gradient")
