"""Attention in blocks of queries, faster than torch's `sdpa` for bfloat16 on a CPU."""

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION_NAME = "sdpa_in_blocks"  # in the registry of the `transformers` library
BLOCK = 256  # queries: few enough to skip most future positions, enough for efficient matrix products


def use_blockwise_attention(lm: Any) -> None:
    """Replace a language model's `sdpa` attention by the function `attend`."""
    AttentionInterface.register(ATTENTION_NAME, attend)
    AttentionMaskInterface.register(ATTENTION_NAME, sdpa_mask)  # omits the mask if it would be causal
    if lm.config._attn_implementation == "sdpa":
        lm.set_attn_implementation(ATTENTION_NAME)


@contextmanager
def replaced_entry(registry: MutableMapping[str, Any], name: str, function: Any) -> Iterator[None]:
    original = registry[name]
    registry[name] = function
    try:
        yield
    finally:
        registry[name] = original


def attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """An attention function for transformers. Without `attention_mask`, attention is causal."""
    # query [B, heads, L, d], key [B, groups, S, d], value [B, groups, S, e]; returns [B, L, heads, e]
    supported = query.device.type == "cpu" and query.dtype == torch.bfloat16 and not kwargs.get("dropout")
    supported &= all(kwargs.get(name) is None for name in ("position_bias", "is_causal", "softcap"))
    if attention_mask is None:
        supported &= query.shape[2] == key.shape[2]
    else:
        supported &= attention_mask.dtype in (query.dtype, torch.bool) and attention_mask.shape[1] == 1
    if not supported:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)[0], None
    query = query * (kwargs.get("scaling") or query.shape[3] ** -0.5)
    batch, groups = key.shape[:2]
    query = query.reshape(batch, groups, -1, *query.shape[2:])
    mask = None if attention_mask is None else attention_mask[:, :, None]
    if mask is None or mask.dtype == torch.bool:
        attended = blockwise_attention(query, key, value, mask)
    else:
        attended = masked_attention(query, key, value, mask)
    return attended.flatten(1, 2).transpose(1, 2).contiguous(), None


def blockwise_attention(query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None) -> Tensor:
    """Compute attention in blocks of queries.

    `visible` is True where a query attends to a key. If `visible` is None, attention is causal.
    """
    # query [B, groups, h, L, d], scaled; key [B, groups, S, d]; value [B, groups, S, e]; visible [B, 1, 1, L, S]
    blocks = []
    for start in range(0, query.shape[3], BLOCK):
        rows, key_positions = slice(start, start + BLOCK), slice(start + BLOCK if visible is None else None)
        block_visible = None if visible is None else visible[:, :, :, rows]
        inputs = (query[:, :, :, rows], key[:, :, key_positions], value[:, :, key_positions], block_visible)
        blocks.append(checkpoint(_block_attention, *inputs, use_reentrant=False, preserve_rng_state=False))
    return torch.cat(blocks, dim=3)


def _block_attention(query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None) -> Tensor:
    if visible is not None:
        return masked_attention(query, key, value, additive_mask(visible, query.dtype))
    queries, keys = query.shape[3], key.shape[2]  # the queries are at the positions of the last keys
    future = torch.full((queries, keys), -torch.inf, dtype=query.dtype).triu(keys - queries + 1)
    return masked_attention(query, key, value, future)


def additive_mask(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """Return 0 where `visible` is True, and the lowest number of `dtype` elsewhere."""
    return torch.zeros_like(visible, dtype=dtype).masked_fill_(~visible, torch.finfo(dtype).min)


def masked_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Return softmax(Q K^T + mask) V. The queries Q must be scaled."""
    # query [B, groups, h, T, d]; the mask broadcasts to [B, groups, h, T, S]. Unlike torch's `sdpa`, `@` uses the
    # bfloat16 instructions of the processor.
    # A new tensor of this size is slow to allocate, so the steps work in place. Adding a mask takes a tenth of the time
    # of `masked_fill`. A softmax in place takes a quarter of the time of one that allocates memory (NOTES.md).
    scores = (query.flatten(2, 3) @ key.transpose(2, 3)).view(*query.shape[:4], key.shape[2]).add_(mask)
    # the backward pass needs the probabilities in a tensor of their own; without gradients they overwrite the scores
    probabilities = scores.softmax(-1) if scores.requires_grad else torch.softmax(scores, -1, out=scores)
    return (probabilities.flatten(2, 3) @ value).view(*query.shape[:4], value.shape[3])
