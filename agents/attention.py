"""Causal attention of a bfloat16 trunk on a CPU, a block of queries at a time.

torch's own kernel computes the same in up to twice the time (NOTES.md); here the products are those of `matmul`,
which use the processor's bfloat16 instructions. A block's probabilities are computed again for the gradient, so memory
stays linear in the stream. Whatever else is asked (a mask, dropout, another device) is left to transformers' `sdpa`.
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


def use_blocks(lm: Any) -> None:
    """Let a language model of transformers attend by this module where it would by torch's own kernel."""
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)  # none where the mask is causal
    if lm.config._attn_implementation == "sdpa":
        lm.set_attn_implementation(NAME)


def attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """transformers' interface: query [B, heads, L, d], key and value [B, groups, S, d] to [B, L, heads, d]."""
    plain = attention_mask is None and not kwargs.get("dropout") and query.shape[2] == key.shape[2]
    known = kwargs.get("position_bias") is None and kwargs.get("is_causal") is None and kwargs.get("softcap") is None
    if not (plain and known and query.device.type == "cpu" and query.dtype == torch.bfloat16):
        attended: Tensor = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)[0]
        return attended, None
    scaling = kwargs.get("scaling") or query.shape[3] ** -0.5
    return causal(query * scaling, key, value).transpose(1, 2).contiguous(), None


def causal(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(Q K' + causal mask) V, the scale already in Q.

    Args:
        query: [B, heads, L, d]; heads that share keys and values (grouped queries) are neighbours.
        key, value: [B, groups, L, d].

    Returns:
        [B, heads, L, d].
    """
    query = query.unflatten(1, (key.shape[1], -1))  # [B, groups, heads per group, L, d]
    found = []
    for start in range(0, query.shape[3], BLOCK):
        block = query[:, :, :, start : start + BLOCK]
        end = start + block.shape[3]
        inputs = (block, key[:, :, :end], value[:, :, :end])
        found.append(checkpoint(_block, *inputs, use_reentrant=False, preserve_rng_state=False))
    return torch.cat(found, dim=3).flatten(1, 2)


def _block(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """[B, groups, h, T, d] and [B, groups, S, d], whose last T are the queries' own positions, to [B, groups, h, T, d]."""
    rows, seen = query.shape[3], key.shape[2]
    future = query.new_full((rows, seen), -torch.inf).triu(seen - rows + 1)
    scores = (query.flatten(2, 3) @ key.transpose(2, 3)).view(*query.shape[:4], seen)
    probabilities = (scores + future).softmax(-1)
    return (probabilities.flatten(2, 3) @ value).view(query.shape)
