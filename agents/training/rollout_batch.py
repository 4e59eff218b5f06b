"""Converts the segments of a rollout to tensors.

A choice in a segment is a token that the agent sampled from several alternatives.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from actde import Batch, Outputs
from agents.config import UpdateConfig
from agents.language_model.token_stream import Segment
from agents.model.actor_critic import ActorCritic
from agents.model.head_outputs import Choices, HeadOutputs, pad_alternatives
from agents.model.lower_layers import FrozenStates, upper_layers_only
from agents.model.packed_attention import can_pack, packed_states
from agents.model.prefix_tree import Indices, PrefixTree, group_by_prefix, locate, sharing_pays
from agents.model.tree_decoder import group_by_length, pass_overhead

if TYPE_CHECKING:
    from agents.training.frozen_trunk import RolloutStates

Credit = Literal["token", "command"]
"""Whether an action is one choice, or all choices of a turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """Contains b segments of a rollout, padded or packed, with N choices in total.

    Attributes:
        segments: indices of the segments in the rollout.
        tokens: [b, L] token ids, padded to length L, or [1, P] token ids of the P nodes of `tree`.
        tree: prefix tree of packed segments, or None.
        choices: the N choices. `choices.rows` and `choices.positions` are indices into `tokens`.
        rows: [N] segment of each choice, from 0 to b - 1.
        choice_index: [N] index of each choice in the rollout.
        action_index: [N] index of each choice's action in the segment.
        first, last: [N] whether each choice is the first or the last choice of an action.
        actions: T, the maximum number of actions per segment.
        labels: [N] index of the alternative to imitate, or -1.
        frozen: hidden states of frozen layers.
    """

    segments: tuple[int, ...]
    tokens: Tensor
    tree: PrefixTree | None
    choices: Choices
    rows: Tensor
    choice_index: Tensor
    action_index: Tensor
    first: Tensor
    last: Tensor
    actions: int
    labels: Tensor | None = None
    frozen: FrozenStates | None = None

    @contextmanager
    def hidden_states(self, model: ActorCritic) -> Iterator[Tensor]:
        """Yield the model's last hidden states of size d, [b, L, d] or [1, P, d].

        With gradient checkpointing, run the backward pass within the `with` block.
        """
        if self.frozen is not None and self.frozen.layers is None:
            yield self.frozen.states
        elif self.tree is None:
            with upper_layers_only(model, self.frozen):
                yield model.hidden_states(self.tokens, use_cache=False)
        else:
            with upper_layers_only(model, self.frozen), packed_states(model, self.tree) as states:
                yield states.float()  # the gradients of many choices at a node are summed in float32

    def locate(self, rows: Indices, positions: Indices) -> tuple[Tensor, Tensor]:
        """Convert `positions` in the segments `rows` (0 to b - 1) to indices into `self.tokens`."""
        row_index, position = (torch.from_numpy(index) for index in locate(self.tree, rows, positions))
        return row_index.to(self.tokens.device), position.to(self.tokens.device)

    def scatter_to_actions(self, per_choice: Tensor, mask: Tensor | None = None) -> Tensor:
        """Sum `per_choice` [N, ...] over the choices of each action. Return [b, T, ...]. `mask` [N] selects choices."""
        rows, actions = self.rows, self.action_index
        if mask is not None:
            rows, actions, per_choice = rows[mask], actions[mask], per_choice[mask]
        zeros = per_choice.new_zeros(len(self.segments), self.actions, *per_choice.shape[1:])
        return zeros.index_put((rows, actions), per_choice, accumulate=True)

    def outputs(self, heads: HeadOutputs) -> Outputs:
        """Convert `heads`, the outputs at N choices, to outputs [b, T] of actions."""

        def scatter(values: Tensor | None, mask: Tensor | None = None) -> Tensor | None:
            return None if values is None else self.scatter_to_actions(values, mask)

        q, target, label, chosen = heads.q_values, heads.target_q_values, self.labels, self.choices.chosen
        # an action has the v of its first choice, the q of its last choice, and the sum of the log-probabilities
        return Outputs(  # the order of the operations determines that of gradient sums, and so their rounding
            q_values=scatter(None if q is None else _select(q, chosen), self.last),
            target_q_values=scatter(None if target is None else _select(target, chosen).amin(-1).detach(), self.last),
            q_logprobs=scatter(heads.q_logprobs, self.last),
            expected_q=scatter(heads.expected_q, self.last),
            label_logprobs=None if label is None else scatter(_select(heads.logprobs, label.clamp_min(0)), label >= 0),
            logprobs=self.scatter_to_actions(_select(heads.logprobs, chosen)),
            entropy=self.scatter_to_actions(heads.entropy),
            values=self.scatter_to_actions(heads.values, self.first),
            kl=scatter(heads.kl),
        )


class RolloutBatch:
    """All B segments of a rollout, with N choices in total and at most T actions per segment."""

    def __init__(
        self, segments: Sequence[Segment], *, credit: Credit, group_size: int = 1, device: torch.device | None = None
    ) -> None:
        if not segments:
            raise ValueError("a rollout needs at least one segment")
        self.segments, self.group_size = tuple(segments), group_size
        self.device = device or torch.device("cpu")
        choices = [choice for segment in segments for choice in segment.choices]
        self.offsets = np.cumsum([0, *(len(segment.choices) for segment in segments)])
        self._alternatives = pad_alternatives([choice.alternatives for choice in choices]).to(self.device)
        self._chosen = self._tensor([choice.chosen for choice in choices], torch.int64)
        self._positions = np.array([choice.position for choice in choices], dtype=np.int64)
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
        """[N, K] log pi_ref of K alternatives per choice, in nats, or None."""
        self.ref_states: Tensor | None = None
        """[N, d] hidden states of the reference policy at choices, or None."""
        self.frozen: RolloutStates | None = None
        """Stored outputs of frozen layers, or None."""

    def __len__(self) -> int:
        return len(self.segments)

    def micro_batch(self, rows: Sequence[int], *, packed: bool = False) -> MicroBatch:
        """Return a micro-batch of the segments `rows`."""
        streams = [self.segments[row].tokens for row in rows]
        tree = PrefixTree.of(streams) if packed else None
        tokens = self._tensor(padded(streams) if tree is None else tree.tokens[None], torch.int64)
        choice_ranges = [np.arange(self.offsets[row], self.offsets[row + 1]) for row in rows]
        row_index = np.repeat(np.arange(len(rows)), [len(indices) for indices in choice_ranges])
        token_rows, token_positions = locate(tree, row_index, self._positions[np.concatenate(choice_ranges)])
        choice_index = self._tensor(np.concatenate(choice_ranges), torch.int64)
        return MicroBatch(
            segments=tuple(rows),
            tokens=tokens,
            tree=tree,
            choices=Choices(
                rows=self._tensor(token_rows, torch.int64),
                positions=self._tensor(token_positions, torch.int64),
                alternatives=self._alternatives[choice_index],
                chosen=self._chosen[choice_index],
                whole_vocabulary=self.segments[0].whole_vocabulary,
            ),
            rows=self._tensor(row_index, torch.int64),
            choice_index=choice_index,
            action_index=self._action_index[choice_index],
            first=self._first[choice_index],
            last=self._last[choice_index],
            actions=self.actions,
            labels=None if self._labels is None else self._labels[choice_index],
            frozen=None if self.frozen is None else self.frozen.load(tokens.shape, rows, tree),
        )

    def micro_batches(self, rows: Sequence[int], budget: int, *, share_prefixes: bool) -> Iterator[MicroBatch]:
        """Split the segments `rows` into micro-batches of at most `budget` tokens.

        A longer segment forms a micro-batch alone.
        """
        packed_rows = set[int]()
        if share_prefixes and (self.frozen is None or self.frozen.layers is not None):
            streams = [self.segments[row].tokens for row in rows]
            choice_counts = [len(self.segments[row].choices) for row in rows]
            for group in group_by_prefix(streams, choice_counts, budget=budget):
                if sharing_pays([streams[index] for index in group.rows], group.nodes):
                    group_rows = [rows[index] for index in group.rows]
                    packed_rows.update(group_rows)
                    yield self.micro_batch(group_rows, packed=True)
        for padded_rows in micro_batch_rows(self, [row for row in rows if row not in packed_rows], budget):
            yield self.micro_batch(padded_rows)

    def micro_batches_for(
        self, model: ActorCritic, config: UpdateConfig, rows: Sequence[int] | None = None
    ) -> Iterator[MicroBatch]:
        """Split the segments `rows` (default: all) into micro-batches for forward passes of `model`."""
        # dropout prevents packing, so the training mode must be set before
        share = config.prefix_sharing == "auto" and can_pack(model)
        rows = range(len(self)) if rows is None else rows
        return self.micro_batches(rows, config.micro_batch_tokens, share_prefixes=share)

    def batch(self, *, with_q: bool) -> Batch:
        """Return the actions' recorded rewards, log-probabilities and values as tensors [B, T]."""
        micro_batch = self.micro_batch(range(len(self)))
        choices = [choice for segment in self.segments for choice in segment.choices]

        def recorded(name: str, mask: Tensor | None = None) -> Tensor:
            return micro_batch.scatter_to_actions(
                self._tensor([getattr(c, name) for c in choices], torch.float32), mask
            )

        return Batch(
            rewards=recorded("reward"),
            discounts=recorded("discount", micro_batch.last),
            mask=micro_batch.scatter_to_actions(torch.ones_like(self._chosen), micro_batch.first) > 0,
            logprobs=recorded("logprob"),
            values=recorded("value", micro_batch.first),
            next_values=recorded("next_value", micro_batch.last),
            q_values=recorded("q_value", micro_batch.last) if with_q else None,
            ref_logprobs=None if self.ref_logprobs is None else micro_batch.scatter_to_actions(self.chosen_reference),
            episodes=(episodes := self._tensor([segment.episode for segment in self.segments], torch.int64)),
            groups=episodes // self.group_size,
        )

    @property
    def chosen_reference(self) -> Tensor:
        """[N] log pi_ref of the chosen tokens, in nats."""
        assert self.ref_logprobs is not None
        return _select(self.ref_logprobs, self._chosen)

    def by_turn(self, per_action: Tensor) -> dict[tuple[int, int], float]:
        """Return a dict: (episode, turn) -> `per_action` of the turn's first action. `per_action` is [B, T]."""
        entries: dict[tuple[int, int], float] = {}
        action_index = iter(self._action_index.tolist())
        for row, segment in zip(per_action.tolist(), self.segments, strict=True):
            for choice in segment.choices:
                entries.setdefault((segment.episode, choice.turn), row[next(action_index)])
        return entries

    def _tensor(self, values: object, dtype: torch.dtype) -> Tensor:
        return torch.as_tensor(np.asarray(values), dtype=dtype, device=self.device)


def micro_batch_rows(rollout: RolloutBatch, rows: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Group segments of similar length. After padding, a group has at most `budget` tokens, or a single segment."""
    lengths, overhead = [len(rollout.segments[row].tokens) for row in rows], pass_overhead(rollout.device)
    for group in group_by_length(lengths, overhead=overhead, budget=budget):
        yield [rows[index] for index in group]


def padded(streams: Sequence[Indices]) -> Indices:
    """Pad N token streams on the right with 0. Return [N, L], where L is the maximum length."""
    tokens = np.zeros((len(streams), max(map(len, streams))), dtype=np.int64)
    for row, stream in zip(tokens, streams, strict=True):
        row[: len(stream)] = stream
    return tokens


def _action_index(segment: Segment, credit: Credit) -> list[int]:
    """Return the index of each choice's action in the segment."""
    if credit == "token":
        return list(range(len(segment.choices)))
    actions: dict[int, int] = {}
    return [actions.setdefault(choice.turn, len(actions)) for choice in segment.choices]


def _select(per_alternative: Tensor, index: Tensor) -> Tensor:
    """For N choices with K alternatives, select `per_alternative` [N, K, ...] at `index` [N]. Return [N, ...]."""
    return per_alternative.take_along_dim(index.view(-1, *(1,) * (per_alternative.dim() - 1)), 1).squeeze(1)
