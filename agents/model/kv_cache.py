"""A key/value cache whose rows have different lengths."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

NO_TOKEN = -1


class PassPlan:
    """The cache entries that the next forward pass writes and reads.

    Attributes:
        rows: [R] indices of the cache rows in the pass.
        cache_positions: [R, T] positions of T new tokens in each cache row.
        visible_length: number of positions that the pass reads in each row, from position 0.
        row_slice: `rows` as a slice, or None if the rows are not consecutive.
        capacity: minimum size of the cache: (rows, positions).
    """

    rows: Tensor
    cache_positions: Tensor
    visible_length: int = 0
    row_slice: slice | None = None
    capacity: tuple[int, int] = (0, 0)


class RaggedLayer(CacheLayerMixin):  # type: ignore[misc]  # mypy skips transformers
    """Cached keys and values [rows, heads, capacity, head_dim] of one decoder layer."""

    is_sliding = False

    def __init__(self, plan: PassPlan) -> None:
        super().__init__()
        self.plan = plan

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys, self.values = (s.new_zeros(0, s.shape[1], 0, s.shape[3]) for s in (key_states, value_states))
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Store new keys and values [rows, heads, tokens, head_dim].

        Return all keys and values that the planned pass reads.
        """
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.keys, keys = self._write(self.keys, key_states)
        self.values, values = self._write(self.values, value_states)
        return keys, values

    def _write(self, stored: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        plan, stored = self.plan, self._with_capacity(stored)
        stored[plan.rows[:, None], :, plan.cache_positions] = states.transpose(1, 2)
        return stored, stored[plan.rows if plan.row_slice is None else plan.row_slice, :, : plan.visible_length]

    def _with_capacity(self, stored: Tensor) -> Tensor:
        rows, positions = self.plan.capacity
        if stored.shape[0] >= rows and stored.shape[2] >= positions:
            return stored
        larger = stored.new_zeros(rows, stored.shape[1], positions, stored.shape[3])
        larger[: stored.shape[0], :, : stored.shape[2]] = stored
        return larger

    def copy(self, source: int, target: int, positions: slice) -> None:
        """Copy the entries at `positions` from the row `source` to the row `target`."""
        self.keys, self.values = (self._with_capacity(stored) for stored in (self.keys, self.values))
        for stored in (self.keys, self.values):
            stored[target, :, positions] = stored[source, :, positions]

    def move(self, rows: Tensor, sources: Tensor, targets: Tensor) -> None:
        """Copy entries within rows: in row `rows[i]`, from position `sources[i]` to `targets[i]`."""
        for stored in (self.keys, self.values):
            stored[rows, :, targets] = stored[rows, :, sources]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.plan.visible_length, 0

    def get_seq_length(self) -> int:
        return self.plan.visible_length if self.is_initialized else 0

    def get_max_length(self) -> int:
        return -1


class RaggedCache(Cache):  # type: ignore[misc]
    """The keys and values of all layers. A free row keeps its entries until reuse."""

    def __init__(self, layers: int) -> None:
        self.plan = PassPlan()
        super().__init__(layers=[RaggedLayer(self.plan) for _ in range(layers)])
        self.lengths: list[int] = []  # number of valid entries of each row
        self._tokens = np.zeros((0, 0), dtype=np.int32)  # [rows, positions]; NO_TOKEN after the end of a row
        self._free_rows: list[int] = []  # from the least to the most recently used

    def add_row(self, min_rows: int = 0) -> int:
        """Return the index of an empty row.

        If the cache has fewer than `min_rows` rows, the row is new.
        """
        if not self._free_rows or len(self.lengths) < min_rows:
            self._free_rows.insert(0, len(self.lengths))
            self.lengths.append(0)
        row = self._free_rows.pop(0)
        self.lengths[row] = 0
        self._tokens[row : row + 1] = NO_TOKEN  # a row without entries is perhaps not in the array yet
        return row

    def free_row(self, row: int) -> None:
        self._free_rows.append(row)

    def append(self, row: int, tokens: Sequence[int]) -> None:
        """Record that the next entries of a row belong to `tokens`."""
        start, end = self.lengths[row], self.lengths[row] + len(tokens)
        if row >= self._tokens.shape[0] or end > self._tokens.shape[1]:
            rows, positions = self._tokens.shape
            larger = np.full((max(rows, len(self.lengths)), room_for(end, positions)), NO_TOKEN, dtype=np.int32)
            larger[:rows, :positions] = self._tokens
            self._tokens = larger
        self._tokens[row, start:end] = tokens
        self.lengths[row] = end

    def extend(self, row: int | None, tokens: Sequence[int], *, min_rows: int) -> int:
        """Copy the longest cached prefix of `tokens` into a row, and return the row.

        If `row` is None, use an empty row.
        """
        start = 0 if row is None else self.lengths[row]
        # the next pass must compute the hidden state of the last token, so this token is never copied
        source, length = self._longest_prefix(np.asarray(tokens[:-1]), start)
        if row is None:  # it may be the source itself, whose entries are still there
            row = self.add_row(min_rows)
        if length > start:
            if source in self._free_rows:
                self._free_rows.remove(source)
                self._free_rows.append(source)
            self.plan.capacity = (max(len(self.lengths), self.plan.capacity[0]), self.plan.capacity[1])
            for layer in self.written:
                layer.copy(source, row, slice(start, length))
            self.append(row, tokens[start:length])
        return row

    def mark_stale(self) -> None:
        """Make `extend` ignore all present entries. Required after the model has changed."""
        self._tokens[:] = NO_TOKEN

    def _longest_prefix(self, tokens: NDArray[np.int64], start: int) -> tuple[int, int]:
        """Return the row and the length of the longest cached prefix of `tokens`."""
        width = min(len(tokens), self._tokens.shape[1])
        rows = np.flatnonzero(self._tokens[:, start] == tokens[start]) if start < width else np.empty(0, dtype=np.int64)
        if not len(rows):
            return -1, 0
        differs = self._tokens[rows, :width] != tokens[:width]
        lengths = np.where(differs.any(1), differs.argmax(1), width)
        longest = int(lengths.argmax())
        return int(rows[longest]), int(lengths[longest])

    def plan_pass(self, rows: Sequence[int], length: int, device: torch.device) -> None:
        """Plan a forward pass that appends up to `length` entries to each row."""
        plan = self.plan
        starts = torch.tensor([self.lengths[row] for row in rows], device=device)
        plan.rows = torch.tensor(rows, device=device)
        plan.cache_positions = starts[:, None] + torch.arange(length, device=device)
        plan.visible_length = max(self.lengths[row] for row in rows) + length
        plan.capacity = (max(len(self.lengths), plan.capacity[0]), room_for(plan.visible_length, plan.capacity[1]))
        first, end = rows[0], rows[0] + len(rows)
        plan.row_slice = slice(first, end) if list(rows) == list(range(first, end)) else None

    def move(self, moves: Sequence[tuple[int, int, int]]) -> None:
        """Copy entries within rows. `moves` contains triples (row, source position, target position)."""
        moves = [(row, source, target) for row, source, target in moves if source != target]
        if moves:
            rows, sources, targets = torch.tensor(moves, device=self.plan.rows.device).unbind(1)
            for layer in self.written:
                layer.move(rows, sources, targets)

    @property
    def written(self) -> list[RaggedLayer]:
        """The layers that store keys and values."""
        return [layer for layer in self.layers if layer.is_initialized]  # some of Gemma 3n's layers store none


def room_for(length: int, capacity: int) -> int:
    """Return `capacity` if `length` fits, or else a larger capacity."""
    return capacity if length <= capacity else -(-max(length * 5 // 4, 256) // 256) * 256
