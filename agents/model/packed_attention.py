"""Runs the trunk on a prefix tree in one row. Each node attends only to itself and its ancestors."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, causal_mask_function
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from agents.model.actor_critic import ActorCritic
from agents.model.cpu_attention import ATTENTION_NAME, additive_mask, replaced_entry
from agents.model.prefix_tree import PrefixTree
from games.errors import is_out_of_memory

UNSUPPORTED = ("position_bias", "softcap", "s_aux", "is_causal")  # arguments of the attention interface
BLOCK = 128  # queries: few enough to skip most other branches, enough for efficient matrix products
_verified: WeakKeyDictionary[ActorCritic, dict[bool, bool]] = WeakKeyDictionary()


class Block:
    """T queries and S keys of tree nodes.

    Query i attends to node `keys[j]` if `visible[i, j]` is True.
    """

    def __init__(self, queries: slice, keys: Tensor, visible: Tensor) -> None:
        used_keys = visible.any(0)
        self.queries, self.keys, self.visible = queries, keys[used_keys], visible[:, used_keys]
        self._mask = visible.new_empty(0, dtype=torch.float32)

    def mask(self, dtype: torch.dtype) -> Tensor:
        """Return the additive mask [1, 1, 1, T, S]."""
        if self._mask.dtype != dtype or not len(self._mask):
            self._mask = additive_mask(self.visible, dtype)[None, None, None]
        return self._mask


class PackedAttention:
    """Attention between the nodes of a `PrefixTree` with the fields `depths` and `ends`."""

    def __init__(self, depths: Tensor, ends: Tensor) -> None:
        self.depths, self.ends, self.calls = depths, ends, 0
        self._blocks: list[tuple[Tensor, list[Block]]] = []

    def placeholder_mask(self, *, mask_function: Callable[..., Tensor], **kwargs: Any) -> Tensor:
        """Compute and store blocks for a mask function. `attend` finds the blocks by the returned placeholder."""
        size = len(self.depths)
        placeholder = torch.ones((), dtype=torch.bool, device=self.depths.device).expand(1, 1, size, size)
        blocks = [self.make_block(start, min(start + BLOCK, size), mask_function) for start in range(0, size, BLOCK)]
        self._blocks.append((placeholder, blocks))
        return placeholder

    def make_block(self, start: int, stop: int, mask_function: Callable[..., Tensor]) -> Block:
        queries = torch.arange(start, stop, device=self.ends.device)
        keys = torch.cat([(self.ends[:start] > start).nonzero()[:, 0], queries])
        visible = (keys <= queries[:, None]) & (queries[:, None] < self.ends[keys])
        if mask_function is not causal_mask_function:
            row = head = queries.new_zeros(1)
            depths = self.depths[queries][:, None], self.depths[keys]
            visible &= mask_function(row[:, None, None, None], head, *(depth[None, None] for depth in depths))[0, 0]
        return Block(slice(start, stop), keys, visible)

    def attend(
        self, module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
    ) -> tuple[Tensor, None]:
        """An attention function for transformers. `attention_mask` must come from the method `placeholder_mask`."""
        blocks = next((blocks for mask, blocks in self._blocks if mask is attention_mask), None)
        if blocks is None or kwargs.get("dropout") or any(kwargs.get(name) is not None for name in UNSUPPORTED):
            raise NotImplementedError("attention that cannot be packed")
        self.calls += 1
        query = query * (kwargs.get("scaling") or query.shape[3] ** -0.5)
        query = query.reshape(1, key.shape[1], -1, *query.shape[2:]).to(value.dtype)
        attended: Tensor = _BlockwiseAttention.apply(query, key.to(value.dtype), value, blocks)  # type: ignore[no-untyped-call]
        return attended.flatten(1, 2).transpose(1, 2).contiguous(), None

    @contextmanager
    def replacing(self, attention: str) -> Iterator[None]:
        """Within the context, replace the attention that transformers calls `attention`."""
        masks, functions = ALL_MASK_ATTENTION_FUNCTIONS, ALL_ATTENTION_FUNCTIONS
        with replaced_entry(masks, attention, self.placeholder_mask), replaced_entry(functions, attention, self.attend):
            yield


class _BlockwiseAttention(torch.autograd.Function):
    """Computes softmax(Q K^T + mask) V block by block. The queries Q must be scaled."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, blocks: list[Block]) -> Tensor:
        # [1, groups, h, P, d], [1, groups, P, d], [1, groups, P, e]
        shape, outputs = query.shape[:3], []
        for block in blocks:
            p = _probabilities(query, key.index_select(2, block.keys), block)
            outputs.append((p @ value.index_select(2, block.keys)).view(*shape, -1, value.shape[3]))
        attended, ctx.blocks = torch.cat(outputs, dim=3), blocks
        ctx.save_for_backward(query, key, value, attended)
        return attended

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value, attended = ctx.saved_tensors
        sum_dtype = torch.promote_types(key.dtype, torch.float32)  # many blocks may add to a key
        key_grad, value_grad = (torch.zeros_like(tensor, dtype=sum_dtype) for tensor in (key, value))
        query_grad = torch.empty_like(query)
        mean_grad = (gradient * attended).sum(-1)  # of the gradient of the probabilities, weighted by them
        for block in ctx.blocks:
            k, v = (tensor.index_select(2, block.keys) for tensor in (key, value))
            p = _probabilities(query, k, block)  # [1, groups, h * T, S]
            q, out_grad = (tensor[:, :, :, block.queries].flatten(2, 3) for tensor in (query, gradient))
            value_grad.index_add_(2, block.keys, (p.transpose(2, 3) @ out_grad).to(sum_dtype))
            score_grad = out_grad @ v.transpose(2, 3)
            score_grad.sub_(mean_grad[:, :, :, block.queries].flatten(2, 3)[..., None]).mul_(p)  # a new tensor is slow
            key_grad.index_add_(2, block.keys, (score_grad.transpose(2, 3) @ q).to(sum_dtype))
            query_grad[:, :, :, block.queries] = (score_grad @ k).view(*query.shape[:3], -1, query.shape[4])
        return query_grad, key_grad.to(key.dtype), value_grad.to(value.dtype), None


def _probabilities(query: Tensor, key: Tensor, block: Block) -> Tensor:
    """Return the attention probabilities of a block. `key` holds only the block's keys."""
    scores = query[:, :, :, block.queries].flatten(2, 3) @ key.transpose(2, 3)
    scores.view(*query.shape[:3], -1, key.shape[2]).add_(block.mask(scores.dtype))
    return torch.softmax(scores, -1, out=scores)


@contextmanager
def packed_states(model: ActorCritic, tree: PrefixTree) -> Iterator[Tensor]:
    """Yield the hidden states [1, P, d] of a tree's P nodes.

    With gradient checkpointing, run the backward pass in the context, too.
    """
    tokens, depths, ends = (torch.from_numpy(a).to(model.device) for a in (tree.tokens, tree.depths, tree.ends))
    with PackedAttention(depths, ends).replacing(model.config._attn_implementation):
        yield _states(model, tokens, depths)


def _states(model: ActorCritic, tokens: Tensor, depths: Tensor) -> Tensor:
    # without an attention mask, some decoders begin a new stream where positions do not increase by 1
    attention_mask = torch.ones_like(tokens)[None]
    return model.hidden_states(tokens[None], position_ids=depths[None], attention_mask=attention_mask, use_cache=False)


def can_pack(model: ActorCritic) -> bool:
    """Return whether packing preserves the hidden states in the model's current mode."""
    if any(isinstance(module, nn.Dropout) and module.training and module.p for module in model.modules()):
        return False
    verified = _verified.setdefault(model, {})
    if model.training not in verified:
        verified[model.training] = _verify(model)
    return verified[model.training]


@torch.no_grad()
def _verify(model: ActorCritic) -> bool:
    streams = [np.array([0, 1, 1, *suffix], dtype=np.int64) for suffix in product((0, 1), repeat=4)]
    tree = PrefixTree.of(streams)
    tokens, depths, ends = (torch.from_numpy(a).to(model.device) for a in (tree.tokens, tree.depths, tree.ends))
    attention, packed = model.config._attn_implementation, PackedAttention(depths, ends)
    if attention not in ("sdpa", ATTENTION_NAME):
        return False
    devices = [model.device] if model.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            plain = model.hidden_states(torch.from_numpy(np.stack(streams)).to(model.device), use_cache=False)
            with packed.replacing(attention):
                states = _states(model, tokens, depths)[0, torch.from_numpy(tree.nodes)]
    except (NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        return False
    difference = float(((states - plain).norm(dim=-1) / plain.norm(dim=-1)).max())
    return packed.calls == model.layers and difference < (1e-3 if model.dtype == torch.float32 else 0.1)
