"""A rollout's segments as tensors: what was recorded (`actde.Batch`) and where the update must read again.

The token streams are padded on the right only when a part of them is read, so any part can be a minibatch or
a micro-batch. Credit is per token, each choice an action of its own, or per command, all choices of a turn
one action (log-probabilities add, v is read at the first choice, q at the last). Knows no network.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from actde import Batch, Outputs
from agents.language_model.token_stream import Segment
from agents.model.actor_critic import Choices, HeadOutputs

Credit = Literal["token", "command"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """Some segments of a rollout, ready to be read: b rows, N choices, T actions (the whole rollout's T)."""

    tokens: Tensor
    """[b, L] token ids, padded on the right with 0."""
    choices: Choices
    choice_index: Tensor
    """[N] number of each choice in the rollout."""
    action_index: Tensor
    """[N] action (0..T-1) that each choice belongs to."""
    first: Tensor
    """[N] bool, first choice of its action."""
    last: Tensor
    """[N] bool, last choice of its action."""
    actions: int
    """T."""
    labels: Tensor | None = None
    """[N] index of each choice's label among its alternatives, -1 without one; None where no choice has one."""

    def scatter_to_actions(self, per_choice: Tensor, where: Tensor | None = None) -> Tensor:
        """Add up numbers per choice [N, ...] (only those `where` is True) into actions [b, T, ...]."""
        rows, columns = self.choices.rows, self.action_index
        if where is not None:
            rows, columns, per_choice = rows[where], columns[where], per_choice[where]
        empty = per_choice.new_zeros(len(self.tokens), self.actions, *per_choice.shape[1:])
        return empty.index_put((rows, columns), per_choice, accumulate=True)

    def outputs(self, readout: HeadOutputs, entropy: Tensor, kl: Tensor | None = None) -> Outputs:
        """What the network says now, action by action; `entropy` and `kl` are per choice [N], nats."""
        chosen = self.choices.chosen[:, None]
        q = target = None
        if readout.q_values is not None:
            q = self.scatter_to_actions(_chosen(readout.q_values, chosen), self.last)
        if readout.target_q_values is not None:
            target = self.scatter_to_actions(_chosen(readout.target_q_values, chosen).amin(-1), self.last).detach()
        return Outputs(
            logprobs=self.scatter_to_actions(readout.logprobs.gather(1, chosen).squeeze(1)),
            entropy=self.scatter_to_actions(entropy),
            values=self.scatter_to_actions(readout.values, self.first),
            q_values=q,
            target_q_values=target,
            kl=None if kl is None else self.scatter_to_actions(kl),
            label_logprobs=None if self.labels is None else self._of_labels(readout.logprobs, self.labels),
        )

    def _of_labels(self, logprobs: Tensor, labels: Tensor) -> Tensor:
        """[b, T] log-probabilities of the labels; those of an action add up, and no label adds 0."""
        return self.scatter_to_actions(logprobs.gather(1, labels.clamp_min(0)[:, None]).squeeze(1), labels >= 0)


class RolloutBatch:
    """All segments of one rollout, B of them, with N choices that form at most T actions each."""

    def __init__(self, segments: Sequence[Segment], *, credit: Credit, device: torch.device | None = None) -> None:
        if not segments:
            raise ValueError("a rollout needs at least one segment")
        self.segments = tuple(segments)
        self.device = device or torch.device("cpu")
        choices = [choice for segment in segments for choice in segment.choices]
        self.offsets = np.cumsum([0, *(len(segment.choices) for segment in segments)])
        width = max(len(choice.alternatives) for choice in choices)
        alternatives = np.full((len(choices), width), -1, dtype=np.int64)
        for row, choice in enumerate(choices):
            alternatives[row, : len(choice.alternatives)] = choice.alternatives
        self._alternatives = torch.from_numpy(alternatives).to(self.device)
        self._chosen = self._tensor([choice.chosen for choice in choices], torch.int64)
        self._positions = self._tensor([choice.position for choice in choices], torch.int64)
        self._labels: Tensor | None = None
        if any(choice.label is not None for choice in choices):
            self._labels = self._tensor([-1 if c.label is None else c.label for c in choices], torch.int64)
        columns, self.actions = _columns(segments, credit)
        self._action_index = self._tensor(columns, torch.int64)
        changes = np.diff(columns, prepend=-1) != 0
        changes[self.offsets[:-1]] = True
        self._first = self._tensor(changes, torch.bool)
        self._last = self._tensor(np.append(changes[1:], True), torch.bool)
        self.ref_logprobs: Tensor | None = None
        """[N, K] the reference policy's log-probabilities, nats; filled in where a KL is wanted."""

    def __len__(self) -> int:
        return len(self.segments)

    def micro_batch(self, rows: Sequence[int]) -> MicroBatch:
        """The segments `rows`, padded to the longest of them."""
        length = max(len(self.segments[row].tokens) for row in rows)
        tokens = np.zeros((len(rows), length), dtype=np.int64)
        for index, row in enumerate(rows):
            tokens[index, : len(self.segments[row].tokens)] = self.segments[row].tokens
        ranges = [np.arange(self.offsets[row], self.offsets[row + 1]) for row in rows]
        which = self._tensor(np.concatenate(ranges), torch.int64)
        owner = self._tensor(np.repeat(np.arange(len(rows)), [len(r) for r in ranges]), torch.int64)
        return MicroBatch(
            tokens=torch.from_numpy(tokens).to(self.device),
            choices=Choices(
                rows=owner,
                positions=self._positions[which],
                alternatives=self._alternatives[which],
                chosen=self._chosen[which],
                whole_vocabulary=self.segments[0].whole_vocabulary,
            ),
            choice_index=which,
            action_index=self._action_index[which],
            first=self._first[which],
            last=self._last[which],
            actions=self.actions,
            labels=None if self._labels is None else self._labels[which],
        )

    def batch(self, *, with_q: bool) -> Batch:
        """What was recorded, action by action [B, T]; q only where the network has Q heads."""
        part = self.micro_batch(range(len(self)))
        every = [choice for segment in self.segments for choice in segment.choices]

        def grid(name: str, where: Tensor | None = None) -> Tensor:
            values = [getattr(choice, name) for choice in every]
            return part.scatter_to_actions(self._tensor(values, torch.float32), where)

        reference = None
        if self.ref_logprobs is not None:
            reference = part.scatter_to_actions(self.ref_logprobs.gather(1, self._chosen[:, None]).squeeze(1))
        return Batch(
            rewards=grid("reward"),
            discounts=grid("discount", part.last),
            mask=part.scatter_to_actions(torch.ones_like(self._chosen), part.first) > 0,
            logprobs=grid("logprob"),
            values=grid("value", part.first),
            next_values=grid("next_value", part.last),
            q_values=grid("q_value", part.last) if with_q else None,
            ref_logprobs=reference,
        )

    def by_turn(self, actions: Tensor) -> dict[tuple[int, int], float]:
        """Numbers [B, T] by (episode, turn): the first action of each turn, for transcripts."""
        found: dict[tuple[int, int], float] = {}
        values, columns, place = actions.tolist(), self._action_index.tolist(), 0
        for row, segment in enumerate(self.segments):
            for choice in segment.choices:
                found.setdefault((segment.episode, choice.turn), values[row][columns[place]])
                place += 1
        return found

    def _tensor(self, values: object, dtype: torch.dtype) -> Tensor:
        return torch.as_tensor(np.asarray(values), dtype=dtype, device=self.device)


def _columns(segments: Sequence[Segment], credit: Credit) -> tuple[list[int], int]:
    """The action of every choice, counted from 0 in each segment, and the largest number of actions."""
    columns: list[int] = []
    for segment in segments:
        if credit == "token":
            columns += range(len(segment.choices))
        else:
            numbers: dict[int, int] = {}
            columns += [numbers.setdefault(choice.turn, len(numbers)) for choice in segment.choices]
    return columns, max(columns) + 1


def _chosen(per_alternative: Tensor, chosen: Tensor) -> Tensor:
    """[N, K, H] at indices [N, 1] to [N, H]."""
    index = chosen[:, :, None].expand(-1, -1, per_alternative.shape[2])
    return per_alternative.gather(1, index).squeeze(1)
