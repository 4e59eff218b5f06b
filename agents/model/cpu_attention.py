"""Attention for a bfloat16 trunk on a CPU, causal in blocks of queries or with a mask.

torch's own kernel takes up to twice the time (NOTES.md), because it does not use the processor's bfloat16 instructions
as `matmul` does. The backward pass recomputes a block's probabilities, so memory stays linear in the stream. Every
other case (dropout, another device) goes to the `sdpa` attention of transformers.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "sdpa_in_blocks"
"""Name under which transformers knows this attention."""
BLOCK = 256
"""Queries in a block: few enough to skip most of the future, enough for large products."""


def use_blockwise_attention(lm: Any) -> None:
    """Replace the `sdpa` attention of a language model by this module's; other attentions stay."""
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)  # no mask where it would be causal
    if lm.config._attn_implementation == "sdpa":
        lm.set_attn_implementation(NAME)


def attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Interface of transformers: query [B, heads, L, d], key and value [B, groups, S, d] to [B, L, heads, d]."""
    supported = query.device.type == "cpu" and query.dtype == torch.bfloat16 and not kwargs.get("dropout")
    supported &= all(kwargs.get(name) is None for name in ("position_bias", "is_causal", "softcap"))
    if attention_mask is None:
        supported &= query.shape[2] == key.shape[2]
    else:
        supported &= attention_mask.dtype == query.dtype and attention_mask.shape[1] == 1
    if not supported:
        attended: Tensor = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)[0]
        return attended, None
    query = query * (kwargs.get("scaling") or query.shape[3] ** -0.5)
    rows, groups = key.shape[:2]
    query = query.reshape(rows, groups, -1, *query.shape[2:])  # neighbouring heads share keys and values
    if attention_mask is None:
        attended = causal(query, key, value)
    else:
        attended = masked(query, key, value, attention_mask[:, :, None])
    return attended.flatten(1, 2).transpose(1, 2).contiguous(), None


def causal(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(Q K' + causal mask) V for scaled Q, computed a block of queries at a time.

    Args:
        query: [B, groups, h, L, d] of the h heads that share keys and values.
        key, value: [B, groups, L, d].

    Returns:
        [B, groups, h, L, d].
    """
    blocks = []
    for start in range(0, query.shape[3], BLOCK):
        block = query[:, :, :, start : start + BLOCK]
        end = start + block.shape[3]
        inputs = (block, key[:, :, :end], value[:, :, :end])
        blocks.append(checkpoint(_causal_block, *inputs, use_reentrant=False, preserve_rng_state=False))
    return torch.cat(blocks, dim=3)


def _causal_block(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal attention of the last T of S positions: query [B, groups, h, T, d], key and value [B, groups, S, d]."""
    rows, seen = query.shape[3], key.shape[2]
    future = torch.full((rows, seen), -torch.inf, dtype=query.dtype).triu(seen - rows + 1)
    return masked(query, key, value, future)


def masked(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """softmax(Q K' + mask) V for any T queries and S keys; the mask broadcasts to [B, groups, h, T, S].

    Scores are large and allocating memory is slow, so the steps work in place: adding a mask takes a tenth of the time
    of `masked_fill`, a softmax in place a quarter of one that allocates (NOTES.md).
    """
    scores = (query.flatten(2, 3) @ key.transpose(2, 3)).view(*query.shape[:4], key.shape[2]).add_(mask)
    # the backward pass needs the probabilities, so they get memory of their own there; it does not need the scores
    probabilities = scores.softmax(-1) if scores.requires_grad else torch.softmax(scores, -1, out=scores)
    return (probabilities.flatten(2, 3) @ value).view(query.shape)
