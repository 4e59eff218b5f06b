"""The segments of a rollout as tensors: the recorded batch (`actde.Batch`), and micro-batches to read again.

Streams are padded on the right, and only within a micro-batch, so any rows can form one. Credit is per token (every
choice is an action) or per command (all choices of a turn are one action: their log-probabilities add up, v is that of
the first choice, q that of the last).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from actde import Batch, Outputs
from agents.language_model.token_stream import Segment
from agents.model.actor_critic import Choices, HeadOutputs, pad_alternatives

Credit = Literal["token", "command"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """Some segments of a rollout: b rows with N choices, which form up to T actions a row (T of the whole rollout)."""

    tokens: Tensor
    """[b, L] token ids, padded on the right with 0."""
    choices: Choices
    choice_index: Tensor
    """[N] index of each choice in the rollout."""
    action_index: Tensor
    """[N] action (0..T-1) that each choice belongs to."""
    first: Tensor
    """[N] bool, first choice of its action."""
    last: Tensor
    """[N] bool, last choice of its action."""
    actions: int
    """T."""
    labels: Tensor | None = None
    """[N] index of each choice's label among its alternatives, -1 without a label; None where no choice has one."""

    def scatter_to_actions(self, per_choice: Tensor, where: Tensor | None = None) -> Tensor:
        """Sum numbers per choice [N, ...] over the choices of each action (only where `where`) to [b, T, ...]."""
        rows, actions = self.choices.rows, self.action_index
        if where is not None:
            rows, actions, per_choice = rows[where], actions[where], per_choice[where]
        zeros = per_choice.new_zeros(len(self.tokens), self.actions, *per_choice.shape[1:])
        return zeros.index_put((rows, actions), per_choice, accumulate=True)

    def outputs(self, heads: HeadOutputs, kl: Tensor | None = None) -> Outputs:
        """The current head outputs per action; `kl` is per choice [N], nats."""
        chosen = self.choices.chosen
        q = target = label_logprobs = None
        if heads.q_values is not None:
            q = self.scatter_to_actions(_select(heads.q_values, chosen), self.last)
        if heads.target_q_values is not None:
            target = self.scatter_to_actions(_select(heads.target_q_values, chosen).amin(-1), self.last).detach()
        if self.labels is not None:
            labelled = _select(heads.logprobs, self.labels.clamp_min(0))
            label_logprobs = self.scatter_to_actions(labelled, self.labels >= 0)
        return Outputs(
            logprobs=self.scatter_to_actions(_select(heads.logprobs, chosen)),
            entropy=self.scatter_to_actions(heads.entropy),
            values=self.scatter_to_actions(heads.values, self.first),
            q_values=q,
            target_q_values=target,
            kl=None if kl is None else self.scatter_to_actions(kl),
            label_logprobs=label_logprobs,
        )


class RolloutBatch:
    """All B segments of a rollout, with N choices that form up to T actions a segment."""

    def __init__(self, segments: Sequence[Segment], *, credit: Credit, device: torch.device | None = None) -> None:
        if not segments:
            raise ValueError("a rollout needs at least one segment")
        self.segments = tuple(segments)
        self.device = device or torch.device("cpu")
        choices = [choice for segment in segments for choice in segment.choices]
        self.offsets = np.cumsum([0, *(len(segment.choices) for segment in segments)])
        self._alternatives = pad_alternatives([choice.alternatives for choice in choices]).to(self.device)
        self._chosen = self._tensor([choice.chosen for choice in choices], torch.int64)
        self._positions = self._tensor([choice.position for choice in choices], torch.int64)
        self._labels: Tensor | None = None
        if any(choice.label is not None for choice in choices):
            self._labels = self._tensor([-1 if c.label is None else c.label for c in choices], torch.int64)
        action_index = [index for segment in segments for index in _action_index(segment, credit)]
        self.actions = max(action_index) + 1
        self._action_index = self._tensor(action_index, torch.int64)
        first = np.diff(action_index, prepend=-1) != 0
        first[self.offsets[:-1]] = True
        self._first = self._tensor(first, torch.bool)
        self._last = self._tensor(np.append(first[1:], True), torch.bool)
        self.ref_logprobs: Tensor | None = None
        """[N, K] log-probabilities of the reference policy, nats; set where a KL is needed."""

    def __len__(self) -> int:
        return len(self.segments)

    def micro_batch(self, rows: Sequence[int]) -> MicroBatch:
        """The segments `rows`, padded to the longest of them."""
        length = max(len(self.segments[row].tokens) for row in rows)
        tokens = np.zeros((len(rows), length), dtype=np.int64)
        for padded, row in zip(tokens, rows, strict=True):
            padded[: len(self.segments[row].tokens)] = self.segments[row].tokens
        ranges = [np.arange(self.offsets[row], self.offsets[row + 1]) for row in rows]
        index = self._tensor(np.concatenate(ranges), torch.int64)
        return MicroBatch(
            tokens=torch.from_numpy(tokens).to(self.device),
            choices=Choices(
                rows=self._tensor(np.repeat(np.arange(len(rows)), [len(r) for r in ranges]), torch.int64),
                positions=self._positions[index],
                alternatives=self._alternatives[index],
                chosen=self._chosen[index],
                whole_vocabulary=self.segments[0].whole_vocabulary,
            ),
            choice_index=index,
            action_index=self._action_index[index],
            first=self._first[index],
            last=self._last[index],
            actions=self.actions,
            labels=None if self._labels is None else self._labels[index],
        )

    def batch(self, *, with_q: bool) -> Batch:
        """The recorded numbers per action [B, T]; q only where the network has Q heads."""
        whole = self.micro_batch(range(len(self)))
        choices = [choice for segment in self.segments for choice in segment.choices]

        def recorded(name: str, where: Tensor | None = None) -> Tensor:
            values = [getattr(choice, name) for choice in choices]
            return whole.scatter_to_actions(self._tensor(values, torch.float32), where)

        reference = None
        if self.ref_logprobs is not None:
            reference = whole.scatter_to_actions(_select(self.ref_logprobs, self._chosen))
        return Batch(
            rewards=recorded("reward"),
            discounts=recorded("discount", whole.last),
            mask=whole.scatter_to_actions(torch.ones_like(self._chosen), whole.first) > 0,
            logprobs=recorded("logprob"),
            values=recorded("value", whole.first),
            next_values=recorded("next_value", whole.last),
            q_values=recorded("q_value", whole.last) if with_q else None,
            ref_logprobs=reference,
        )

    def by_turn(self, per_action: Tensor) -> dict[tuple[int, int], float]:
        """Numbers [B, T] by (episode, turn), that of the first action of each turn."""
        numbers: dict[tuple[int, int], float] = {}
        action_index = iter(self._action_index.tolist())
        for row, segment in zip(per_action.tolist(), self.segments, strict=True):
            for choice in segment.choices:
                numbers.setdefault((segment.episode, choice.turn), row[next(action_index)])
        return numbers

    def _tensor(self, values: object, dtype: torch.dtype) -> Tensor:
        return torch.as_tensor(np.asarray(values), dtype=dtype, device=self.device)


def _action_index(segment: Segment, credit: Credit) -> list[int]:
    """[choices] the action of each choice, counted from 0 in the segment."""
    if credit == "token":
        return list(range(len(segment.choices)))
    actions: dict[int, int] = {}
    return [actions.setdefault(choice.turn, len(actions)) for choice in segment.choices]


def _select(per_alternative: Tensor, index: Tensor) -> Tensor:
    """[N, K, ...] at indices [N] to [N, ...]."""
    return per_alternative.take_along_dim(index.view(-1, *(1,) * (per_alternative.dim() - 1)), 1).squeeze(1)
