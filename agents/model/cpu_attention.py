"""Attention for a bfloat16 trunk on a CPU. torch's own attention kernel takes up to twice as long (NOTES.md).

Unlike torch's kernel, `matmul` uses the processor's bfloat16 instructions. Attention is computed in blocks of queries
if it is causal or has a bool mask, such as that of a sliding window. The backward pass recomputes the probabilities of
each block. Apart from the mask, memory is therefore linear in the length of the stream. With an additive mask,
attention is computed in one block.

All other cases, such as dropout or another device, use the `sdpa` attention of the `transformers` library.
"""

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "sdpa_in_blocks"  # in the registry of the `transformers` library
BLOCK = 256  # queries: few enough to skip most future positions, enough for efficient matrix products


def use_blockwise_attention(lm: Any) -> None:
    """Replace the `sdpa` attention of a language model by `attend`. Any other kind of attention is kept."""
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)  # omits the mask if it would be causal
    if lm.config._attn_implementation == "sdpa":
        lm.set_attn_implementation(NAME)


@contextmanager
def replaced(registry: MutableMapping[str, Any], name: str, function: Any) -> Iterator[None]:
    """Replace an entry of a registry of the `transformers` library within the context."""
    before = registry[name]
    registry[name] = function
    try:
        yield
    finally:
        registry[name] = before


def attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Compute attention. The signature follows the attention interface of the `transformers` library.

    Return a tuple: the attention output [B, L, heads, e], and None in place of the attention weights.

    Args:
        query: [B, heads, L, d], the L queries of each of B streams.
        key: [B, groups, S, d]. Each group of neighboring query heads shares its keys and values.
        value: [B, groups, S, e].
        attention_mask: mask that broadcasts to [B, heads, L, S]. If None, attention is causal.
    """
    supported = query.device.type == "cpu" and query.dtype == torch.bfloat16 and not kwargs.get("dropout")
    supported &= all(kwargs.get(name) is None for name in ("position_bias", "is_causal", "softcap"))
    if attention_mask is None:
        supported &= query.shape[2] == key.shape[2]
    else:
        supported &= attention_mask.dtype in (query.dtype, torch.bool) and attention_mask.shape[1] == 1
    if not supported:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)[0], None
    query = query * (kwargs.get("scaling") or query.shape[3] ** -0.5)
    rows, groups = key.shape[:2]
    query = query.reshape(rows, groups, -1, *query.shape[2:])
    mask = None if attention_mask is None else attention_mask[:, :, None]
    if mask is None or mask.dtype == torch.bool:
        attended = blockwise(query, key, value, mask)
    else:
        attended = masked(query, key, value, mask)
    return attended.flatten(1, 2).transpose(1, 2).contiguous(), None


def blockwise(query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None) -> Tensor:
    """Return softmax(Q K^T + mask) V for scaled queries, computed in blocks of queries.

    `query` is [B, groups, h, L, d]. The h heads of a group share `key` [B, groups, S, d] and `value` [B, groups, S, e].
    `visible` [B, 1, 1, L, S] is True where a query may attend to a key. If None, attention is causal, and S is L.
    The result is [B, groups, h, L, e].
    """
    blocks = []
    for start in range(0, query.shape[3], BLOCK):
        rows, seen = slice(start, start + BLOCK), slice(start + BLOCK if visible is None else None)
        own = None if visible is None else visible[:, :, :, rows]
        inputs = (query[:, :, :, rows], key[:, :, seen], value[:, :, seen], own)
        blocks.append(checkpoint(_block, *inputs, use_reentrant=False, preserve_rng_state=False))
    return torch.cat(blocks, dim=3)


def _block(query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None) -> Tensor:
    """Return attention for T queries and S keys.

    Without `visible`, attention is causal, and the queries are at the positions of the last T keys.
    """
    if visible is not None:
        return masked(query, key, value, additive(visible, query.dtype))
    rows, seen = query.shape[3], key.shape[2]
    future = torch.full((rows, seen), -torch.inf, dtype=query.dtype).triu(seen - rows + 1)
    return masked(query, key, value, future)


def additive(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the additive mask that hides the keys at which `visible` is False."""
    return torch.zeros_like(visible, dtype=dtype).masked_fill_(~visible, torch.finfo(dtype).min)


def masked(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Return softmax(Q K^T + mask) V for scaled queries. The additive mask broadcasts to [B, groups, h, T, S]."""
    # A new tensor of this size is slow to allocate, so the steps work in place. Adding a mask takes a tenth of the time
    # of `masked_fill`. A softmax in place takes a quarter of the time of one that allocates memory (NOTES.md).
    scores = (query.flatten(2, 3) @ key.transpose(2, 3)).view(*query.shape[:4], key.shape[2]).add_(mask)
    # the backward pass needs the probabilities in a tensor of their own; without gradients they overwrite the scores
    probabilities = scores.softmax(-1) if scores.requires_grad else torch.softmax(scores, -1, out=scores)
    return (probabilities.flatten(2, 3) @ value).view(*query.shape[:4], value.shape[3])
