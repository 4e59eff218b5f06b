"""Runs the trunk on the command tries of many episodes, with tree attention."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, causal_mask_function

from agents.model.actor_critic import ActorCritic
from agents.model.command_trie import Trie, build_trie
from agents.model.cpu_attention import additive_mask, replaced_entry
from agents.model.kv_cache import RaggedCache
from agents.protocol import AgentError
from games.errors import is_out_of_memory

# Fixed cost of a forward pass, as the number of tokens that a small trunk reads in that time: measured on a CPU core
# (5 ms), and estimated for a GPU, where launching the kernels takes most of the time.
PASS_OVERHEAD, GPU_PASS_OVERHEAD = 64, 16384


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeInput:
    """Input for one cache row: `tokens`, followed by `trie.input_nodes`."""

    row: int
    tokens: Sequence[int]
    trie: Trie | None = None

    @property
    def length(self) -> int:
        return len(self.tokens) + (len(self.trie.input_nodes) if self.trie else 0)

    def choice_positions(self) -> list[int]:
        """Return the index of each branching node in the input. Without a trie, return the last index."""
        root = len(self.tokens) - 1
        if self.trie is None:
            return [root]
        position = {prefix: root + 1 + index for index, prefix in enumerate(self.trie.input_nodes)}
        return [position.get(prefix, root) for prefix in self.trie.branching]


def forward_trees(model: ActorCritic, cache: RaggedCache, inputs: Sequence[TreeInput]) -> Tensor:
    """Run the trunk on all inputs, and append the new tokens to the cache.

    Return the hidden states [N, d] at all N choice positions.
    """
    states: dict[int, Tensor] = {}
    for group in group_by_length([tree.length for tree in inputs], overhead=pass_overhead(model.device)):
        group = sorted(group, key=lambda index: inputs[index].row)  # consecutive rows are read without a copy
        hidden = _forward_group(model, cache, [inputs[index] for index in group])
        counts = [len(inputs[index].choice_positions()) for index in group]
        states |= zip(group, torch.split(hidden, counts), strict=True)
    return torch.cat([states[index] for index in range(len(inputs))])


def pass_overhead(device: torch.device) -> int:
    """Return the fixed cost of a forward pass, in tokens of equal computing time."""
    return PASS_OVERHEAD if device.type == "cpu" else GPU_PASS_OVERHEAD


def group_by_length(
    lengths: Sequence[int], *, overhead: int = PASS_OVERHEAD, budget: int | None = None
) -> list[list[int]]:
    """Group the indices of `lengths` at minimum total cost.

    A group of n lengths costs overhead + n * maximum length. `budget` limits n * maximum length.
    """
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    cheapest: list[tuple[int, int]] = [(0, 0)]  # n -> (cost of the n shortest, start of their last group)
    for end in range(1, len(order) + 1):
        longest = lengths[order[end - 1]]
        max_size = end if budget is None else min(end, max(1, budget // longest))
        starts = range(end - max_size, end)
        cheapest.append(min((cheapest[start][0] + (end - start) * longest + overhead, start) for start in starts))
    groups, end = [], len(order)
    while end:
        start = cheapest[end][1]
        groups.append(sorted(order[start:end]))
        end = start
    return groups[::-1]


def _forward_group(model: ActorCritic, cache: RaggedCache, inputs: Sequence[TreeInput]) -> Tensor:
    width = max(tree.length for tree in inputs)
    starts = [cache.lengths[tree.row] for tree in inputs]
    cache.plan_pass([tree.row for tree in inputs], width, model.device)
    tokens, positions = np.zeros((2, len(inputs), width), dtype=np.int64)
    cache_positions = np.asarray(starts)[:, None] + np.arange(width)  # [R, T]
    # [R, T, visible_length], causal; padding is never visible
    mask = cache_positions[:, :, None] >= np.arange(cache.plan.visible_length)
    rows, columns = list[int](), list[int]()
    for index, (tree, start) in enumerate(zip(inputs, starts, strict=True)):
        count = len(tree.tokens)
        tokens[index, :count] = tree.tokens
        positions[index, :count] = np.arange(start, start + count)
        if tree.trie is not None and tree.trie.input_nodes:
            end = tree.length
            tokens[index, count:end] = [prefix[-1] for prefix in tree.trie.input_nodes]
            positions[index, count:end] = [start + count + len(prefix) - 1 for prefix in tree.trie.input_nodes]
            mask[index, count:end, start + count : start + end] = tree.trie.ancestors
        columns += tree.choice_positions()
        rows += [index] * (len(columns) - len(rows))
    ids, position_ids, visible = (torch.from_numpy(array).to(model.device) for array in (tokens, positions, mask))
    attention = model.config._attn_implementation
    # torch's `sdpa` attention gets a bool mask, `eager` attention and `cpu_attention` an additive one
    mask_dtype = None if attention == "sdpa" else model.dtype
    masks = partial(tree_mask, visible[:, None], position_ids, cache.plan.cache_positions, mask_dtype)
    with replaced_entry(ALL_MASK_ATTENTION_FUNCTIONS, attention, masks):
        hidden = model.hidden_states(ids, position_ids=position_ids, past_key_values=cache, use_cache=True)
    for tree in inputs:  # after the pass, which may fail
        cache.append(tree.row, tree.tokens)
    return hidden[rows, columns]


def tree_mask(
    visible: Tensor,
    positions: Tensor,
    cache_positions: Tensor,
    mask_dtype: torch.dtype | None,
    *,
    mask_function: Callable[..., Tensor],
    **kwargs: Any,
) -> Tensor:
    """Return the attention mask [R, 1, T, S] of R rows, T queries and S cache positions.

    Args:
        visible: [R, 1, T, S], True where a query may attend to a cache position.
        positions: [R, T] position of each query in its stream.
        cache_positions: [R, T] position of each query in its cache row.
        mask_dtype: data type of an additive mask. If None, the mask is bool.
        mask_function: hides more positions, as a sliding window does.
    """
    if mask_function is not causal_mask_function:  # it needs positions in the stream, not those in the cache
        device, (rows, _, _, length) = visible.device, visible.shape
        keys = torch.arange(length, device=device).repeat(rows, 1).scatter_(1, cache_positions, positions)
        row = torch.arange(rows, device=device)[:, None, None, None]
        head = torch.zeros(1, dtype=torch.int64, device=device)
        visible = visible & mask_function(row, head, positions[:, None, :, None], keys[:, None, None, :])
    return visible if mask_dtype is None else additive_mask(visible, mask_dtype)


def commit_branches(cache: RaggedCache, chosen: Iterable[tuple[TreeInput, int]]) -> None:
    """Append the trie nodes of the chosen commands to the cache.

    `chosen` contains pairs (input, command index).
    """
    moves: list[tuple[int, int, int]] = []
    for tree, command in chosen:
        assert tree.trie is not None
        end, tokens = cache.lengths[tree.row], tree.trie.commands[command]
        branch = [index for index, prefix in enumerate(tree.trie.input_nodes) if tokens[: len(prefix)] == prefix]
        moves += [(tree.row, end + index, end + offset) for offset, index in enumerate(branch)]
        cache.append(tree.row, tokens[: len(branch)])
    cache.move(moves)


@torch.no_grad()
def check_cache(model: ActorCritic) -> None:
    """Raise AgentError if the decoder does not support `RaggedCache` and command tries."""
    tokens, trie = [0, 1, 1], build_trie(list(itertools.product((0, 1), repeat=4)))  # every vocabulary has two tokens
    try:
        with model.mode(training=False):
            cache = RaggedCache(model.layers)
            tree = TreeInput(row=cache.add_row(), tokens=tokens, trie=trie)
            cached = [*forward_trees(model, cache, [tree])]
            commit_branches(cache, [(tree, len(trie.commands) - 1)])
            cached += forward_trees(model, cache, [TreeInput(row=tree.row, tokens=[1, 0, 1])])
            suffixes = [*trie.branching, (*trie.commands[-1], 0, 1)]
            streams = (torch.tensor([[*tokens, *suffix]], device=model.device) for suffix in suffixes)
            plain = [model.hidden_states(stream, use_cache=False)[0, -1] for stream in streams]
            errors = [float((a - b).norm() / b.norm()) for a, b in zip(cached, plain, strict=True)]
    except (RuntimeError, ValueError, TypeError) as error:
        if is_out_of_memory(error):
            raise
        raise AgentError(f"{type(model.base).__name__} does not work with our cache: {error}") from error
    if not max(errors) < (1e-3 if model.dtype == torch.float32 else 0.1):
        raise AgentError(
            f"{type(model.base).__name__} reads cached text differently from plain text, as ALiBi and "
            "recurrent layers do; choose a decoder with ordinary attention"
        )
