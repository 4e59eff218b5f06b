"""A key/value cache whose rows have lengths of their own: one row per live episode, no holes, no padding kept.

transformers' caches assume that all rows grow together; episodes do not. Here every forward pass says, for
each of its rows, which cache row it continues and at which positions its new keys and values are written.
What a row may look at is decided by the attention mask that `agents/model/tree_decoder.py` builds, so entries behind a
row's end are never seen. `keep` makes a branch of a tree that was read in one pass the row's continuation.
Leaves out: sliding windows, recurrent states, offloading, quantised caches.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


class RaggedLayer(CacheLayerMixin):  # type: ignore[misc]  # transformers is not followed
    """Keys and values of one layer, [rows, heads, capacity, head_dim], written at positions named per row."""

    is_sliding = False

    def __init__(self, plan: "Plan") -> None:
        super().__init__()
        self.plan = plan

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate room for the plan's rows and positions in the dtype and on the device of the first states."""
        self.keys = _room(key_states, self.plan)
        self.values = _room(value_states, self.plan)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write the states [R, heads, T, head_dim] of this pass; return all that its rows may look at.

        Returns:
            Keys and values [R, heads, plan.visible, head_dim].
        """
        plan = self.plan
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        self.keys = _grown(self.keys, plan)
        self.values = _grown(self.values, plan)
        where = (plan.rows[:, None], slice(None), plan.slots)
        self.keys[where] = key_states.transpose(1, 2)
        self.values[where] = value_states.transpose(1, 2)
        if plan.all_rows:
            return self.keys[:, :, : plan.visible], self.values[:, :, : plan.visible]
        return self.keys[plan.rows, :, : plan.visible], self.values[plan.rows, :, : plan.visible]

    def move(self, rows: Tensor, source: Tensor, target: Tensor) -> None:
        """Copy entries `source` [n] of cache rows `rows` [n] to positions `target` [n]."""
        assert self.keys is not None and self.values is not None
        self.keys[rows, :, target] = self.keys[rows, :, source]
        self.values[rows, :, target] = self.values[rows, :, source]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.plan.visible, 0

    def get_seq_length(self) -> int:
        return self.plan.visible if self.is_initialized else 0

    def get_max_length(self) -> int:
        return -1


class Plan:
    """Where the next forward pass writes, shared by all layers; set by `RaggedCache.plan_pass`."""

    rows: Tensor
    """[R] cache row of each row of the pass."""
    slots: Tensor
    """[R, T] cache position of each new token."""
    visible: int = 0
    """Number of leading cache positions that the pass may look at."""
    all_rows: bool = False
    """True when the pass uses every cache row in order, so that nothing needs to be copied."""
    capacity: tuple[int, int] = (0, 0)
    """(rows, positions) that every layer must have room for."""


class RaggedCache(Cache):  # type: ignore[misc]
    """Rows of unequal length. `lengths[row]` counts the valid entries; the owner keeps it up to date."""

    def __init__(self, layers: int) -> None:
        self.plan = Plan()
        super().__init__(layers=[RaggedLayer(self.plan) for _ in range(layers)])
        self.lengths: list[int] = []
        self._free: list[int] = []

    def add_row(self) -> int:
        """A cache row of length 0, reusing one that was freed."""
        if self._free:
            row = self._free.pop()
        else:
            row = len(self.lengths)
            self.lengths.append(0)
        self.lengths[row] = 0
        return row

    def free_row(self, row: int) -> None:
        """Give a row back; its contents are never looked at again."""
        self._free.append(row)

    def plan_pass(self, rows: Sequence[int], tokens: int, device: torch.device) -> None:
        """Say that the next pass appends up to `tokens` entries to each of `rows`, in this order."""
        plan = self.plan
        starts = torch.tensor([self.lengths[row] for row in rows], device=device)
        plan.rows = torch.tensor(rows, device=device)
        plan.slots = starts[:, None] + torch.arange(tokens, device=device)
        plan.visible = max(self.lengths[row] for row in rows) + tokens
        plan.capacity = (max(len(self.lengths), plan.capacity[0]), room_for(plan.visible, plan.capacity[1]))
        plan.all_rows = list(rows) == list(range(plan.capacity[0]))

    def keep(self, rows: Sequence[int], sources: Sequence[int], targets: Sequence[int]) -> None:
        """Copy single entries inside rows: for each i, entry `sources[i]` of `rows[i]` goes to `targets[i]`."""
        moves = [(r, s, t) for r, s, t in zip(rows, sources, targets, strict=True) if s != t]
        if not moves:
            return
        r, s, t = torch.tensor(moves, device=self.plan.rows.device).unbind(1)
        for layer in self.layers:
            assert isinstance(layer, RaggedLayer)
            layer.move(r, s, t)


def room_for(visible: int, capacity: int) -> int:
    """Positions to allocate: a quarter more than needed, so that growth costs amortised O(1) per token."""
    return capacity if visible <= capacity else -(-max(visible * 5 // 4, 256) // 256) * 256


def _room(states: Tensor, plan: Plan) -> Tensor:
    rows, positions = plan.capacity
    return states.new_zeros(rows, states.shape[1], positions, states.shape[3])


def _grown(stored: Tensor, plan: Plan) -> Tensor:
    rows, positions = plan.capacity
    if stored.shape[0] >= rows and stored.shape[2] >= positions:
        return stored
    larger = stored.new_zeros(rows, stored.shape[1], positions, stored.shape[3])
    larger[: stored.shape[0], :, : stored.shape[2]] = stored
    return larger
