"""A key/value cache whose rows have individual lengths. Each live episode has one row.

The caches of the `transformers` library assume that all rows grow together, but episodes do not. Here, `plan_pass` sets
the rows and positions to which the next forward pass writes. The attention mask (`agents/model/tree_decoder.py`)
determines the positions that a row attends to, and hides the entries beyond the row's end.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


class Plan:
    """The cache rows and positions to which the next forward pass writes. All layers share the plan.

    Attributes:
        rows: [R] cache row of each row of the pass.
        slots: [R, T] cache position of each new token.
        visible: number of leading cache positions that the pass may attend to.
        all_rows: whether the pass uses every cache row in order. If so, the rows need not be copied.
        capacity: minimum size (rows, positions) of the tensors of every layer.
    """

    rows: Tensor
    slots: Tensor
    visible: int = 0
    all_rows: bool = False
    capacity: tuple[int, int] = (0, 0)


class RaggedLayer(CacheLayerMixin):  # type: ignore[misc]  # mypy skips transformers
    """Keys and values of one layer. Their shape is [rows, heads, capacity, head_dim]."""

    is_sliding = False

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys, self.values = (s.new_zeros(0, s.shape[1], 0, s.shape[3]) for s in (key_states, value_states))
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write the states [R, heads, T, head_dim] of this pass into the cache.

        Return a tuple (keys, values) with the entries to attend to, each of shape [R, heads, plan.visible, head_dim].
        """
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.keys, keys = self._write(self.keys, key_states)
        self.values, values = self._write(self.values, value_states)
        return keys, values

    def _write(self, stored: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """Write states into `stored`, or into a larger copy if needed.

        Return a tuple: the tensor with the new states, and its part to attend to.
        """
        plan, (rows, positions) = self.plan, self.plan.capacity
        if stored.shape[0] < rows or stored.shape[2] < positions:
            larger = stored.new_zeros(rows, stored.shape[1], positions, stored.shape[3])
            larger[: stored.shape[0], :, : stored.shape[2]] = stored
            stored = larger
        stored[plan.rows[:, None], :, plan.slots] = states.transpose(1, 2)
        visible = slice(plan.visible)
        return stored, stored[:, :, visible] if plan.all_rows else stored[plan.rows, :, visible]

    def move(self, rows: Tensor, source: Tensor, target: Tensor) -> None:
        """Copy the entries at positions `source` [n] of cache rows `rows` [n] to positions `target` [n]."""
        for stored in (self.keys, self.values):
            stored[rows, :, target] = stored[rows, :, source]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.plan.visible, 0

    def get_seq_length(self) -> int:
        return self.plan.visible if self.is_initialized else 0

    def get_max_length(self) -> int:
        return -1


class RaggedCache(Cache):  # type: ignore[misc]
    """A cache whose rows have individual lengths. The caller sets `lengths[row]` to the number of valid entries."""

    def __init__(self, layers: int) -> None:
        self.plan = Plan()
        super().__init__(layers=[RaggedLayer(self.plan) for _ in range(layers)])
        self.lengths: list[int] = []
        self._free: list[int] = []

    def add_row(self) -> int:
        """Return a cache row of length 0. A freed row is reused if there is one."""
        if not self._free:
            self._free.append(len(self.lengths))
            self.lengths.append(0)
        row = self._free.pop()
        self.lengths[row] = 0
        return row

    def free_row(self, row: int) -> None:
        """Mark a row as free, so that `add_row` can reuse it."""
        self._free.append(row)

    def plan_pass(self, rows: Sequence[int], tokens: int, device: torch.device) -> None:
        """Prepare a forward pass whose row i appends up to `tokens` entries to the cache row `rows[i]`."""
        plan = self.plan
        starts = torch.tensor([self.lengths[row] for row in rows], device=device)
        plan.rows = torch.tensor(rows, device=device)
        plan.slots = starts[:, None] + torch.arange(tokens, device=device)
        plan.visible = max(self.lengths[row] for row in rows) + tokens
        plan.capacity = (max(len(self.lengths), plan.capacity[0]), room_for(plan.visible, plan.capacity[1]))
        plan.all_rows = list(rows) == list(range(plan.capacity[0]))

    def move(self, moves: Sequence[tuple[int, int, int]]) -> None:
        """Copy single entries within rows. Each move is a tuple (row, source position, target position)."""
        moves = [(row, source, target) for row, source, target in moves if source != target]
        if moves:
            rows, sources, targets = torch.tensor(moves, device=self.plan.rows.device).unbind(1)
            for layer in self.written:
                layer.move(rows, sources, targets)

    @property
    def written(self) -> list[RaggedLayer]:
        """The layers that store keys and values. Some layers of Gemma 3n reuse those of an earlier layer."""
        return [layer for layer in self.layers if layer.is_initialized]


def room_for(visible: int, capacity: int) -> int:
    """Return `capacity` if it suffices for `visible` positions, or else a larger one.

    The larger one exceeds `visible` by at least a quarter, so that copying the cache costs amortised O(1) per token.
    """
    return capacity if visible <= capacity else -(-max(visible * 5 // 4, 256) // 256) * 256
