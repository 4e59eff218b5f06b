"""Attention of a bfloat16 trunk on a CPU: causal, a block of queries at a time, or with a mask.

torch's own kernel computes the same in up to twice the time (NOTES.md); here the products are those of `matmul`,
which use the processor's bfloat16 instructions. A block's probabilities are computed again for the gradient, so memory
stays linear in the stream. Whatever else is asked (dropout, another device) is left to transformers' `sdpa`.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "sdpa_in_blocks"
"""What transformers calls this attention."""
BLOCK = 256
"""Queries at a time: few enough to skip most of the future, enough for large products."""


def use_blockwise_attention(lm: Any) -> None:
    """Let a language model of transformers attend by this module where it would by torch's own kernel."""
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)  # none where the mask is causal
    if lm.config._attn_implementation == "sdpa":
        lm.set_attn_implementation(NAME)


def attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """transformers' interface: query [B, heads, L, d], key and value [B, groups, S, d] to [B, L, heads, d]."""
    ours = query.device.type == "cpu" and query.dtype == torch.bfloat16 and not kwargs.get("dropout")
    ours &= all(kwargs.get(name) is None for name in ("position_bias", "is_causal", "softcap"))
    if attention_mask is None:
        ours &= query.shape[2] == key.shape[2]
    else:
        ours &= attention_mask.dtype == query.dtype and attention_mask.shape[1] == 1
    if not ours:
        attended: Tensor = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)[0]
        return attended, None
    query = query * (kwargs.get("scaling") or query.shape[3] ** -0.5)
    rows, groups = key.shape[:2]
    query = query.reshape(rows, groups, -1, *query.shape[2:])  # heads that share keys and values are neighbours
    found = (
        causal(query, key, value) if attention_mask is None else masked(query, key, value, attention_mask[:, :, None])
    )
    return found.flatten(1, 2).transpose(1, 2).contiguous(), None


def causal(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(Q K' + causal mask) V, the scale already in Q: a block of queries at a time.

    Args:
        query: [B, groups, h, L, d] of the h heads that share keys and values.
        key, value: [B, groups, L, d].

    Returns:
        [B, groups, h, L, d].
    """
    found = []
    for start in range(0, query.shape[3], BLOCK):
        block = query[:, :, :, start : start + BLOCK]
        end = start + block.shape[3]
        inputs = (block, key[:, :, :end], value[:, :, :end])
        found.append(checkpoint(_last, *inputs, use_reentrant=False, preserve_rng_state=False))
    return torch.cat(found, dim=3)


def _last(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The same for the last T of S positions [B, groups, h, T, d], over [B, groups, S, d]."""
    rows, seen = query.shape[3], key.shape[2]
    future = torch.full((rows, seen), -torch.inf, dtype=query.dtype).triu(seen - rows + 1)
    return masked(query, key, value, future)


def masked(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """The same for any T queries over S keys; `mask` is added to the scores and broadcasts to [B, groups, h, T, S].

    Scores are large and new memory is slow, so what can be done in place is: adding takes a tenth of the time of
    `masked_fill`, a softmax in place a quarter of another (NOTES.md).
    """
    scores = (query.flatten(2, 3) @ key.transpose(2, 3)).view(*query.shape[:4], key.shape[2]).add_(mask)
    # a gradient needs nothing of the scores before the mask, but the probabilities in memory of their own
    probabilities = scores.softmax(-1) if scores.requires_grad else torch.softmax(scores, -1, out=scores)
    return (probabilities.flatten(2, 3) @ value).view(query.shape)
