"""Attention masks for command tries: a node attends to the stream and its ancestors, within each layer's window."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, causal_mask_function


class TreeMask:
    """Computes the attention mask of a forward pass for each kind of layer, from the decoder's own mask function.

    The mask functions of the `transformers` library describe causal attention, sliding windows and chunks. They assume
    that a token's position in the stream is its index in the cache. This does not hold for the nodes of a tree, so this
    class passes positions in the stream to them. A pass has R rows with T queries each, and S cache positions.

    Args:
        visible: [R, T, S] bool, whether a query may attend to a cache position if no window limits its attention.
        positions: [R, T] position in the stream of each query.
        slots: [R, T] cache position of each query.
        dtype: data type of an additive mask. If None, masks are bool.
    """

    def __init__(self, visible: Tensor, positions: Tensor, slots: Tensor, dtype: torch.dtype | None) -> None:
        self.visible, self.positions, self.slots, self.dtype = visible[:, None], positions, slots, dtype

    def __call__(self, *, mask_function: Callable[..., Tensor], **kwargs: Any) -> Tensor:
        """Return the mask [R, 1, T, S]. The signature follows the mask interface of the `transformers` library."""
        visible = self.visible
        if mask_function is not causal_mask_function:
            device, (rows, _, _, length) = visible.device, visible.shape
            keys = torch.arange(length, device=device).repeat(rows, 1).scatter_(1, self.slots, self.positions)
            row = torch.arange(rows, device=device)[:, None, None, None]
            head = torch.zeros(1, dtype=torch.int64, device=device)
            visible = visible & mask_function(row, head, self.positions[:, None, :, None], keys[:, None, None, :])
        if self.dtype is None:
            return visible
        return torch.zeros_like(visible, dtype=self.dtype).masked_fill(~visible, torch.finfo(self.dtype).min)

    @contextmanager
    def used_by(self, attention: str) -> Iterator[None]:
        """Within the context, use this mask in decoders whose attention implementation is `attention`."""
        before = ALL_MASK_ATTENTION_FUNCTIONS[attention]
        ALL_MASK_ATTENTION_FUNCTIONS[attention] = self
        try:
            yield
        finally:
            ALL_MASK_ATTENTION_FUNCTIONS[attention] = before
