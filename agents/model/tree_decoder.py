"""Reads one turn of many live episodes in few forward passes, with the exact probability of every command.

A row of a pass holds the tokens that its stream has not read yet, followed by the inner nodes of its trie of commands.
A node attends to the stream and to its own ancestors only (tree attention), so the hidden states at the branching nodes
give the probabilities of all commands at once. When a command is chosen, its nodes stay in the cache and the other
nodes are overwritten later.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from agents.model.actor_critic import ActorCritic
from agents.model.command_trie import Trie, build_trie
from agents.model.kv_cache import RaggedCache
from agents.protocol import AgentError

PASS_OVERHEAD = 64
"""Fixed cost of a forward pass, in tokens of a small trunk on a CPU core (5 ms)."""
GPU_PASS_OVERHEAD = 16384
"""The same on a GPU, where launching the kernels costs as much as reading thousands of tokens; not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeInput:
    """Input of one row of a pass: `tokens` continue cache row `row`, then come the trie's inner nodes."""

    row: int
    tokens: Sequence[int]
    trie: Trie | None = None

    @property
    def length(self) -> int:
        return len(self.tokens) + (len(self.trie.inner) if self.trie else 0)

    def choice_positions(self) -> list[int]:
        """Positions in this input whose hidden states choose: one per branching prefix, or the last token."""
        root = len(self.tokens) - 1
        if self.trie is None:
            return [root]
        position = {prefix: root + 1 + index for index, prefix in enumerate(self.trie.inner)}
        return [position.get(prefix, root) for prefix in self.trie.branching]


def forward_trees(model: ActorCritic, cache: RaggedCache, inputs: Sequence[TreeInput]) -> Tensor:
    """Read all inputs, those of similar length in one forward pass.

    The inputs' tokens extend their cache rows. Trie nodes are written behind them and stay only if `commit_branches`
    keeps them.

    Returns:
        Hidden states [N, d] at the inputs' choice positions, input by input.
    """
    states: dict[int, Tensor] = {}
    for group in group_by_length([tree.length for tree in inputs], overhead=pass_overhead(model.device)):
        hidden = _forward_group(model, cache, [inputs[index] for index in group])
        counts = [len(inputs[index].choice_positions()) for index in group]
        states |= zip(group, torch.split(hidden, counts), strict=True)
    return torch.cat([states[index] for index in range(len(inputs))])


def pass_overhead(device: torch.device) -> int:
    """Fixed cost of a forward pass on the device, in tokens."""
    return PASS_OVERHEAD if device.type == "cpu" else GPU_PASS_OVERHEAD


def group_by_length(
    lengths: Sequence[int], *, overhead: int = PASS_OVERHEAD, budget: int | None = None
) -> list[list[int]]:
    """Partition indices into the cheapest groups, where a group costs rows x longest + `overhead` tokens.

    No group has more than `budget` tokens, padding included, unless a single length exceeds it.
    """
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    best: list[tuple[int, int]] = [(0, 0)]  # cost of the first n, and start of their last group
    for end in range(1, len(order) + 1):
        longest = lengths[order[end - 1]]
        fit = end if budget is None else min(end, max(1, budget // longest))
        starts = range(end - fit, end)
        best.append(min((best[start][0] + (end - start) * longest + overhead, start) for start in starts))
    groups, end = [], len(order)
    while end:
        start = best[end][1]
        groups.append(sorted(order[start:end]))
        end = start
    return groups[::-1]


def _forward_group(model: ActorCritic, cache: RaggedCache, inputs: Sequence[TreeInput]) -> Tensor:
    """Read inputs in one forward pass, padded to the longest; hidden states [N, d] at their choice positions."""
    width = max(tree.length for tree in inputs)
    starts = [cache.lengths[tree.row] for tree in inputs]
    cache.plan_pass([tree.row for tree in inputs], width, model.device)
    tokens = np.zeros((len(inputs), width), dtype=np.int64)
    positions = np.zeros((len(inputs), width), dtype=np.int64)
    slots = np.asarray(starts)[:, None] + np.arange(width)  # [R, T]
    mask = slots[:, :, None] >= np.arange(cache.plan.visible)  # [R, T, visible], causal; nothing attends to padding
    rows: list[int] = []
    columns: list[int] = []
    for index, (tree, start) in enumerate(zip(inputs, starts, strict=True)):
        own = len(tree.tokens)
        tokens[index, :own] = tree.tokens
        positions[index, :own] = np.arange(start, start + own)
        if tree.trie is not None and tree.trie.inner:
            end = tree.length
            tokens[index, own:end] = [prefix[-1] for prefix in tree.trie.inner]
            positions[index, own:end] = [start + own + len(prefix) - 1 for prefix in tree.trie.inner]
            mask[index, own:end, start + own : start + end] = tree.trie.ancestors
        columns += tree.choice_positions()
        rows += [index] * (len(columns) - len(rows))
        cache.lengths[tree.row] += own
    hidden = model.hidden_states(
        torch.from_numpy(tokens).to(model.device),
        position_ids=torch.from_numpy(positions).to(model.device),
        attention_mask=_attention_mask(model, torch.from_numpy(mask[:, None]).to(model.device)),
        past_key_values=cache,
        use_cache=True,
    )
    return hidden[rows, columns]


def _attention_mask(model: ActorCritic, visible: Tensor) -> Tensor:
    """The mask in the form of the trunk's attention: bool for torch's sdpa, additive for `eager` and cpu_attention."""
    if model.base.config._attn_implementation == "sdpa":
        return visible
    dtype = next(model.base.parameters()).dtype
    return torch.zeros_like(visible, dtype=dtype).masked_fill(~visible, torch.finfo(dtype).min)


def commit_branches(cache: RaggedCache, chosen: Iterable[tuple[TreeInput, int]]) -> None:
    """Extend cache rows by the nodes of the chosen commands that were read; the other nodes are dropped."""
    moves: list[tuple[int, int, int]] = []
    for tree, command in chosen:
        assert tree.trie is not None
        end, tokens = cache.lengths[tree.row], tree.trie.commands[command]
        branch = [index for index, prefix in enumerate(tree.trie.inner) if tokens[: len(prefix)] == prefix]
        moves += [(tree.row, end + index, end + offset) for offset, index in enumerate(branch)]
        cache.lengths[tree.row] += len(branch)
    cache.move(moves)


@torch.no_grad()
def check_cache(model: ActorCritic) -> None:
    """Check that the decoder reads a tree of commands through the cache as it reads plain text.

    Raises:
        AgentError: it does not; its attention is of a kind that `RaggedCache` does not support (recurrent, ALiBi).
    """
    training = model.training
    model.eval()
    tokens, trie = [0, 1, 1], build_trie([[0, 0], [0, 1], [1, 0], [1, 1]])  # every vocabulary has two tokens
    try:
        cache = RaggedCache(model.layers)
        first = TreeInput(row=cache.add_row(), tokens=tokens, trie=trie)
        cached = [*forward_trees(model, cache, [first])]
        commit_branches(cache, [(first, 2)])
        cached += forward_trees(model, cache, [TreeInput(row=first.row, tokens=[0, 1])])
        streams = (tokens, [*tokens, 0], [*tokens, 1], [*tokens, 1, 0, 1])
        plain = [model.hidden_states(torch.tensor([s], device=model.device), use_cache=False)[0, -1] for s in streams]
        errors = [float((a - b).norm() / b.norm()) for a, b in zip(cached, plain, strict=True)]
    except (RuntimeError, ValueError, TypeError) as error:
        raise AgentError(f"{type(model.base).__name__} does not work with our cache: {error}") from error
    finally:
        model.train(training)
    if not max(errors) < (1e-3 if next(model.base.parameters()).dtype == torch.float32 else 0.1):
        raise AgentError(
            f"{type(model.base).__name__} reads cached text differently from plain text; choose a decoder "
            "with ordinary attention"
        )
