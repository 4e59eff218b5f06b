"""Attention for a bfloat16 trunk on a CPU. torch's own attention kernel takes up to twice as long (NOTES.md).

torch's kernel does not use the processor's bfloat16 instructions. `matmul` does, so attention is computed with it:

* Without a mask, attention is causal and is computed in blocks of queries.
* With a bool mask, such as that of a sliding window, it is also computed in blocks of queries.
* With an additive mask, it is computed in one block.

The backward pass recomputes the probabilities of each block of queries, so memory is linear in the length of the
stream. In all other cases, for example with dropout or on another device, the `sdpa` attention of the `transformers`
library is used.
"""

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


def attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Compute attention. The signature follows the attention interface of the `transformers` library.

    Args:
        module: the attention module of the trunk.
        query: [B, heads, L, d], the L queries of each of B streams.
        key: [B, groups, S, d]. The neighboring query heads of a group share keys and values.
        value: [B, groups, S, e].
        attention_mask: mask that broadcasts to [B, heads, L, S]. If None, attention is causal.
        kwargs: other arguments of the interface, such as `scaling` and `dropout`.

    Returns:
        A tuple (output, None): the attention output [B, L, heads, e], and None in place of the attention weights.
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
    query = query.reshape(rows, groups, -1, *query.shape[2:])  # neighbouring heads share keys and values
    if attention_mask is None:
        attended = causal(query, key, value)
    elif attention_mask.dtype == torch.bool:
        attended = limited(query, key, value, attention_mask[:, :, None])
    else:
        attended = masked(query, key, value, attention_mask[:, :, None])
    return attended.flatten(1, 2).transpose(1, 2).contiguous(), None


def causal(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return softmax(Q K^T + causal mask) V, computed in blocks of queries. The queries must already be scaled.

    `query` is [B, groups, h, L, d]. The h heads of a group share `key` [B, groups, L, d] and `value` [B, groups, L, e].
    The result is [B, groups, h, L, e].
    """
    blocks = []
    for start in range(0, query.shape[3], BLOCK):
        block = query[:, :, :, start : start + BLOCK]
        end = start + block.shape[3]
        inputs = (block, key[:, :, :end], value[:, :, :end])
        blocks.append(checkpoint(_causal_block, *inputs, use_reentrant=False, preserve_rng_state=False))
    return torch.cat(blocks, dim=3)


def limited(query: Tensor, key: Tensor, value: Tensor, visible: Tensor) -> Tensor:
    """Return softmax(Q K^T + mask) V, computed in blocks of queries. The queries must already be scaled.

    `visible` [B, 1, 1, L, S] is True where one of the L queries may attend to one of the S keys. The other arguments
    and the result are as in `causal`, but with S keys and values instead of L.
    """
    blocks = []
    for start in range(0, query.shape[3], BLOCK):
        rows = slice(start, start + BLOCK)
        inputs = (query[:, :, :, rows], key, value, visible[:, :, :, rows])
        blocks.append(checkpoint(_limited_block, *inputs, use_reentrant=False, preserve_rng_state=False))
    return torch.cat(blocks, dim=3)


def _limited_block(query: Tensor, key: Tensor, value: Tensor, visible: Tensor) -> Tensor:
    mask = torch.zeros_like(visible, dtype=query.dtype).masked_fill_(~visible, torch.finfo(query.dtype).min)
    return masked(query, key, value, mask)


def _causal_block(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return causal attention for T queries and S keys. The queries are at the last T of the S positions."""
    rows, seen = query.shape[3], key.shape[2]
    future = torch.full((rows, seen), -torch.inf, dtype=query.dtype).triu(seen - rows + 1)
    return masked(query, key, value, future)


def masked(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Return softmax(Q K^T + mask) V for T queries, which must already be scaled, and S keys.

    The mask is additive and broadcasts to [B, groups, h, T, S].
    """
    # A new tensor of this size is slow to allocate, so the steps work in place. Adding a mask takes a tenth of the time
    # of `masked_fill`. A softmax in place takes a quarter of the time of one that allocates memory (NOTES.md).
    scores = (query.flatten(2, 3) @ key.transpose(2, 3)).view(*query.shape[:4], key.shape[2]).add_(mask)
    # the backward pass needs the probabilities in a tensor of their own; without gradients they overwrite the scores
    probabilities = scores.softmax(-1) if scores.requires_grad else torch.softmax(scores, -1, out=scores)
    return (probabilities.flatten(2, 3) @ value).view(*query.shape[:4], value.shape[3])
