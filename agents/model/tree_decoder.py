"""Reads one turn of many live episodes at once, every command's probability included.

Each row of a pass holds the tokens that its stream has not read yet, followed by the nodes of the trie of
its admissible commands. A node sees the stream and its own ancestors only (tree attention), so the hidden
states at the branching nodes give the exact probability of every command at once, whatever their number.
When a command is chosen, its branch stays in the cache and the others are forgotten. Leaves out sampling and
bookkeeping (language_model.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from agents.model.actor_critic import ActorCritic
from agents.model.command_trie import Trie, build_trie
from agents.model.kv_cache import RaggedCache
from agents.protocol import AgentError

PASS_OVERHEAD = 64
"""What a forward pass costs besides its tokens, in tokens of a small trunk on a CPU core (5 ms)."""
GPU_PASS_OVERHEAD = 16384
"""The same on a GPU, which launches a pass's kernels one by one and then reads thousands of tokens as fast as one.

An estimate that was not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeInput:
    """What one row of a pass reads: `tokens` continue cache row `row`, then come the trie's inner nodes."""

    row: int
    tokens: Sequence[int]
    trie: Trie | None = None

    @property
    def length(self) -> int:
        return len(self.tokens) + (len(self.trie.inner) if self.trie else 0)

    def points(self) -> list[int]:
        """Positions in the block whose hidden states choose: one per branching node, or the last token."""
        root = len(self.tokens) - 1
        if self.trie is None:
            return [root]
        place = {node: root + 1 + index for index, node in enumerate(self.trie.inner)}
        return [place.get(node, root) for node in self.trie.branching]


def forward_trees(model: ActorCritic, cache: RaggedCache, blocks: Sequence[TreeInput]) -> Tensor:
    """Read all blocks, those of similar length in one forward pass.

    The blocks' own tokens become part of their cache rows; trie nodes are written behind them and stay only
    where `commit_branches` says so.

    Returns:
        Hidden states [N, d] at the blocks' points, block by block.
    """
    found: list[Tensor | None] = [None] * len(blocks)
    for group in group_by_length([block.length for block in blocks], overhead=pass_overhead(model.device)):
        hidden = _read_group(model, cache, [blocks[index] for index in group])
        counts = [len(blocks[index].points()) for index in group]
        for index, states in zip(group, torch.split(hidden, counts), strict=True):
            found[index] = states
    return torch.cat([states for states in found if states is not None])


def pass_overhead(device: torch.device) -> int:
    """What a forward pass on this device costs besides its tokens, in tokens."""
    return PASS_OVERHEAD if device.type == "cpu" else GPU_PASS_OVERHEAD


def group_by_length(
    lengths: Sequence[int], *, overhead: int = PASS_OVERHEAD, budget: int | None = None
) -> list[list[int]]:
    """Partition indices into the groups that cost least, a group costing rows x longest + `overhead` tokens.

    No group has more than `budget` tokens, padding included, but for an index whose own length exceeds it.
    """
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    best: list[tuple[int, int]] = [(0, 0)]  # cost of the first n, and where their last group starts
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


def _read_group(model: ActorCritic, cache: RaggedCache, blocks: Sequence[TreeInput]) -> Tensor:
    """One forward pass over blocks, padded to the longest; hidden states [N, d] at their points."""
    width = max(block.length for block in blocks)
    starts = [cache.lengths[block.row] for block in blocks]
    cache.plan_pass([block.row for block in blocks], width, model.device)
    visible = cache.plan.visible
    tokens = np.zeros((len(blocks), width), dtype=np.int64)
    positions = np.zeros((len(blocks), width), dtype=np.int64)
    slots = np.asarray(starts)[:, None] + np.arange(width)  # [R, T]
    mask = slots[:, :, None] >= np.arange(visible)  # [R, T, visible], causal; padding is looked at by nobody
    rows: list[int] = []
    points: list[int] = []
    for index, (block, start) in enumerate(zip(blocks, starts, strict=True)):
        own = len(block.tokens)
        tokens[index, :own] = block.tokens
        positions[index, :own] = np.arange(start, start + own)
        if block.trie is not None and block.trie.inner:
            nodes, end = list(block.trie.inner), own + len(block.trie.inner)
            tokens[index, own:end] = [block.trie.tokens[node] for node in nodes]
            positions[index, own:end] = [start + own + block.trie.depths[node] - 1 for node in nodes]
            mask[index, own:end, start + own : start + end] = block.trie.ancestors
        points += block.points()
        rows += [index] * (len(points) - len(rows))
        cache.lengths[block.row] += own
    hidden = model.hidden_states(
        torch.from_numpy(tokens).to(model.device),
        position_ids=torch.from_numpy(positions).to(model.device),
        attention_mask=_attention_mask(model, torch.from_numpy(mask[:, None]).to(model.device)),
        past_key_values=cache,
        use_cache=True,
    )
    return hidden[rows, points]


def _attention_mask(model: ActorCritic, visible: Tensor) -> Tensor:
    """The mask as the trunk's attention takes it: torch's own takes bool, transformers' `eager` and ours add it."""
    if model.base.config._attn_implementation == "sdpa":
        return visible
    dtype = next(model.base.parameters()).dtype
    return torch.zeros_like(visible, dtype=dtype).masked_fill(~visible, torch.finfo(dtype).min)


def commit_branches(cache: RaggedCache, blocks: Sequence[TreeInput], commands: Sequence[int]) -> list[int]:
    """Make the chosen commands' nodes that were read the continuation of their rows; forget the others.

    Returns:
        For each block, how many leading tokens of its command are in the cache now.
    """
    rows: list[int] = []
    sources: list[int] = []
    targets: list[int] = []
    kept = []
    for block, command in zip(blocks, commands, strict=True):
        assert block.trie is not None
        start, path = cache.lengths[block.row], set(block.trie.path(command))
        branch = [index for index, node in enumerate(block.trie.inner) if node in path]
        rows += [block.row] * len(branch)
        sources += [start + index for index in branch]
        targets += [start + offset for offset in range(len(branch))]
        cache.lengths[block.row] += len(branch)
        kept.append(len(branch))
    cache.keep(rows, sources, targets)
    return kept


@torch.no_grad()
def check_cache(model: ActorCritic) -> None:
    """Refuse a decoder that reads a tree of commands through the cache otherwise than plain text.

    Raises:
        AgentError: where its attention is of a kind that `RaggedCache` does not keep (recurrent states, ALiBi).
    """
    training = model.training
    model.eval()
    tokens, trie = [0, 1, 1], build_trie([[0, 0], [0, 1], [1, 0], [1, 1]])  # every vocabulary has two tokens
    try:
        cache = RaggedCache(model.layers)
        first = TreeInput(row=cache.add_row(), tokens=tokens, trie=trie)
        ours = [*forward_trees(model, cache, [first])]
        commit_branches(cache, [first], [2])
        ours += forward_trees(model, cache, [TreeInput(row=first.row, tokens=[0, 1])])
        streams = (tokens, [*tokens, 0], [*tokens, 1], [*tokens, 1, 0, 1])
        plain = [model.hidden_states(torch.tensor([s], device=model.device), use_cache=False)[0, -1] for s in streams]
        off = [float((a - b).norm() / b.norm()) for a, b in zip(ours, plain, strict=True)]
    except (RuntimeError, ValueError, TypeError) as error:
        raise AgentError(f"{type(model.base).__name__} does not work with our cache: {error}") from error
    finally:
        model.train(training)
    if not max(off) < (1e-3 if next(model.base.parameters()).dtype == torch.float32 else 0.1):
        raise AgentError(
            f"{type(model.base).__name__} reads cached text otherwise than plain text; choose a decoder "
            "with ordinary attention"
        )
