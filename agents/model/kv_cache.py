"""A key/value cache whose rows have different lengths."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

NO_TOKEN = -1


class Plan:
    """Where the next forward pass writes in the cache.

    Attributes:
        rows: [R] cache row of each row of the pass.
        slots: [R, T] cache position of each new token.
        visible: number of leading positions that the pass may attend to.
        block: `rows` as a slice, or None if they are not consecutive.
        capacity: minimum numbers of rows and positions of the cache.
    """

    rows: Tensor
    slots: Tensor
    visible: int = 0
    block: slice | None = None
    capacity: tuple[int, int] = (0, 0)


class RaggedLayer(CacheLayerMixin):  # type: ignore[misc]  # mypy skips transformers
    """Keys and values [rows, heads, capacity, head_dim] of one layer."""

    is_sliding = False

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys, self.values = (s.new_zeros(0, s.shape[1], 0, s.shape[3]) for s in (key_states, value_states))
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write the states [R, heads, T, head_dim] of a pass. Return the keys and values to attend to."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.keys, keys = self._write(self.keys, key_states)
        self.values, values = self._write(self.values, value_states)
        return keys, values

    def _write(self, stored: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        plan, stored = self.plan, self._with_capacity(stored)
        stored[plan.rows[:, None], :, plan.slots] = states.transpose(1, 2)
        return stored, stored[plan.rows if plan.block is None else plan.block, :, : plan.visible]

    def _with_capacity(self, stored: Tensor) -> Tensor:
        rows, positions = self.plan.capacity
        if stored.shape[0] >= rows and stored.shape[2] >= positions:
            return stored
        larger = stored.new_zeros(rows, stored.shape[1], positions, stored.shape[3])
        larger[: stored.shape[0], :, : stored.shape[2]] = stored
        return larger

    def copy(self, source: int, target: int, positions: slice) -> None:
        """Copy entries from one cache row to the same positions of another."""
        self.keys, self.values = (self._with_capacity(stored) for stored in (self.keys, self.values))
        for stored in (self.keys, self.values):
            stored[target, :, positions] = stored[source, :, positions]

    def move(self, rows: Tensor, source: Tensor, target: Tensor) -> None:
        """In row `rows[i]`, copy the entry at `source[i]` to `target[i]`."""
        for stored in (self.keys, self.values):
            stored[rows, :, target] = stored[rows, :, source]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.plan.visible, 0

    def get_seq_length(self) -> int:
        return self.plan.visible if self.is_initialized else 0

    def get_max_length(self) -> int:
        return -1


class RaggedCache(Cache):  # type: ignore[misc]
    """A cache whose rows have different lengths. A free row keeps its entries until it is reused."""

    def __init__(self, layers: int) -> None:
        self.plan = Plan()
        super().__init__(layers=[RaggedLayer(self.plan) for _ in range(layers)])
        self.lengths: list[int] = []  # number of valid entries of each row
        self._tokens = np.zeros((0, 0), dtype=np.int32)  # [rows, positions]; NO_TOKEN after the end of a row
        self._free: list[int] = []  # from the least to the most recently used

    def add_row(self, rows: int = 0) -> int:
        """Return an empty row. Free rows are reused only if there are at least `rows` rows."""
        if not self._free or len(self.lengths) < rows:
            self._free.insert(0, len(self.lengths))
            self.lengths.append(0)
        row = self._free.pop(0)
        self.lengths[row] = 0
        self._tokens[row : row + 1] = NO_TOKEN  # a row without entries is perhaps not in the array yet
        return row

    def free_row(self, row: int) -> None:
        self._free.append(row)

    def append(self, row: int, tokens: Sequence[int]) -> None:
        """Mark the next entries of a row as valid. They belong to `tokens`."""
        start, end = self.lengths[row], self.lengths[row] + len(tokens)
        if row >= self._tokens.shape[0] or end > self._tokens.shape[1]:
            rows, positions = self._tokens.shape
            larger = np.full((max(rows, len(self.lengths)), room_for(end, positions)), NO_TOKEN, dtype=np.int32)
            larger[:rows, :positions] = self._tokens
            self._tokens = larger
        self._tokens[row, start:end] = tokens
        self.lengths[row] = end

    def extend(self, row: int | None, tokens: Sequence[int], *, rows: int) -> int:
        """Copy the longest cached prefix of a stream into its row, and return the row."""
        start = 0 if row is None else self.lengths[row]
        # the next pass must compute the hidden state of the last token, so this token is never copied
        source, length = self._longest_prefix(np.asarray(tokens[:-1]), start)
        if row is None:  # it may be the source itself, whose entries are still there
            row = self.add_row(rows)
        if length > start:
            if source in self._free:
                self._free.remove(source)
                self._free.append(source)
            self.plan.capacity = (max(len(self.lengths), self.plan.capacity[0]), self.plan.capacity[1])
            for layer in self.written:
                layer.copy(source, row, slice(start, length))
            self.append(row, tokens[start:length])
        return row

    def hide(self) -> None:
        """Exclude the present entries from `extend`. Call this after the model has changed."""
        self._tokens[:] = NO_TOKEN

    def _longest_prefix(self, tokens: NDArray[np.int64], start: int) -> tuple[int, int]:
        """Return the row that holds the longest prefix of `tokens`, and the prefix's length."""
        width = min(len(tokens), self._tokens.shape[1])
        rows = np.flatnonzero(self._tokens[:, start] == tokens[start]) if start < width else np.empty(0, dtype=np.int64)
        if not len(rows):
            return -1, 0
        differs = self._tokens[rows, :width] != tokens[:width]
        lengths = np.where(differs.any(1), differs.argmax(1), width)
        best = int(lengths.argmax())
        return int(rows[best]), int(lengths[best])

    def plan_pass(self, rows: Sequence[int], tokens: int, device: torch.device) -> None:
        """Plan a pass whose row i appends up to `tokens` entries to `rows[i]`."""
        plan = self.plan
        starts = torch.tensor([self.lengths[row] for row in rows], device=device)
        plan.rows = torch.tensor(rows, device=device)
        plan.slots = starts[:, None] + torch.arange(tokens, device=device)
        plan.visible = max(self.lengths[row] for row in rows) + tokens
        plan.capacity = (max(len(self.lengths), plan.capacity[0]), room_for(plan.visible, plan.capacity[1]))
        first, end = rows[0], rows[0] + len(rows)
        plan.block = slice(first, end) if list(rows) == list(range(first, end)) else None

    def move(self, moves: Sequence[tuple[int, int, int]]) -> None:
        """Copy entries within rows. A move is (row, source position, target position)."""
        moves = [(row, source, target) for row, source, target in moves if source != target]
        if moves:
            rows, sources, targets = torch.tensor(moves, device=self.plan.rows.device).unbind(1)
            for layer in self.written:
                layer.move(rows, sources, targets)

    @property
    def written(self) -> list[RaggedLayer]:
        """The layers that store keys and values."""
        return [layer for layer in self.layers if layer.is_initialized]  # some of Gemma 3n's layers store none


def room_for(visible: int, capacity: int) -> int:
    """Return `capacity` if it suffices, or else at least 5/4 of `visible`."""
    return capacity if visible <= capacity else -(-max(visible * 5 // 4, 256) // 256) * 256
