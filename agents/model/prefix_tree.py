"""The prefix tree of token streams. Streams that begin with the same tokens share the nodes of these tokens.

TextWorld is deterministic and a trained agent repeats itself, so the streams of a rollout have long common prefixes. A
causal decoder computes the same hidden states for equal prefixes. One row with every node of the tree can therefore
replace all streams (see `agents.model.packed_attention`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

Indices: TypeAlias = NDArray[np.int64]
LEAST_SHARING = 1.25
"""Minimum number of tokens per node of the prefix tree at which streams are packed. Packed attention is slower."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixTree:
    """The P nodes of the prefix tree of n streams, in depth-first order.

    Node a is an ancestor of node b, or b itself, if and only if a <= b < ends[a].

    Attributes:
        tokens: [P] token id of each node.
        depths: [P] number of ancestors of each node, which is the token's position in its streams.
        ends: [P] index after the last descendant of each node.
        nodes: [n, L] node of each position of each stream, padded with -1 to the longest stream.
    """

    tokens: NDArray[np.int64]
    depths: NDArray[np.int64]
    ends: NDArray[np.int64]
    nodes: NDArray[np.int64]

    @classmethod
    def of(cls, streams: Sequence[NDArray[np.int64]]) -> Self:
        """Build the tree of n >= 1 streams, each of which has at least one token."""
        nodes = np.full((len(streams), max(map(len, streams))), -1, dtype=np.int64)
        order = lexicographic_order(streams)
        size, path = 0, np.empty(0, dtype=np.int64)  # number of nodes; nodes of the previous stream
        tokens, depths, ends = np.empty((3, sum(map(len, streams))), dtype=np.int64)
        for row, shared in zip(order, shared_prefixes([streams[row] for row in order]), strict=True):
            stream = streams[row]
            ends[path[shared:]] = size  # no later stream passes through these nodes
            new = np.arange(size, size + len(stream) - shared)
            tokens[new], depths[new] = stream[shared:], np.arange(shared, len(stream))
            nodes[row, : len(stream)] = path = np.concatenate([path[:shared], new])
            size += len(new)
        ends[path] = size
        return cls(tokens=tokens[:size], depths=depths[:size], ends=ends[:size], nodes=nodes)


def locate(tree: PrefixTree | None, rows: Indices, positions: Indices) -> tuple[Indices, Indices]:
    """Return the places of n tokens in a batch, as a tuple (batch rows [n], positions in these rows [n]).

    Args:
        tree: if given, the batch is a single row, which holds the nodes of this tree. If None, each row of the batch is
            a stream.
        rows: [n] index of each token's stream.
        positions: [n] position of each token in its stream.
    """
    return (rows, positions) if tree is None else (np.zeros_like(rows), tree.nodes[rows, positions])


def lexicographic_order(streams: Sequence[NDArray[np.int64]]) -> list[int]:
    """Return the indices of streams in lexicographic order. A prefix of a stream precedes the stream."""
    # the order of big-endian bytes is that of non-negative integers
    return sorted(range(len(streams)), key=lambda index: streams[index].astype(">i8").tobytes())


def shared_prefixes(streams: Sequence[NDArray[np.int64]]) -> list[int]:
    """Return the number of tokens that each stream has in common with the previous one. The first number is 0."""
    return [0, *map(_shared, streams[:-1], streams[1:])][: len(streams)]


def _shared(one: NDArray[np.int64], other: NDArray[np.int64]) -> int:
    length = min(len(one), len(other))
    different = one[:length] != other[:length]
    return int(different.argmax()) if different.any() else length


def sharing_pays(streams: Sequence[NDArray[np.int64]], nodes: int) -> bool:
    """Return whether packing streams into a prefix tree of `nodes` nodes saves enough tokens (`LEAST_SHARING`)."""
    return sum(map(len, streams)) >= LEAST_SHARING * nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixGroup:
    """Streams that share a prefix tree.

    Attributes:
        rows: indices of the streams, in the lexicographic order of their tokens.
        nodes: number of nodes of the tree.
    """

    rows: list[int]
    nodes: int


def group_by_prefix(streams: Sequence[NDArray[np.int64]], weights: Sequence[int], *, budget: int) -> list[PrefixGroup]:
    """Partition streams into groups that share a prefix tree.

    Each group is a run of neighbors in lexicographic order, because neighbors have the longest prefixes in common. The
    prefix tree of a group has at most `budget` nodes, and the weights of its streams add up to at most `budget`. A
    single stream may exceed both limits. `weights` holds one number per stream, such as its number of choices.
    """
    groups, weight = list[PrefixGroup](), 0
    order = lexicographic_order(streams)
    for row, shared in zip(order, shared_prefixes([streams[row] for row in order]), strict=True):
        nodes, weight = len(streams[row]) - shared, weight + weights[row]
        if groups and groups[-1].nodes + nodes <= budget and weight <= budget:
            groups[-1] = PrefixGroup(rows=[*groups[-1].rows, row], nodes=groups[-1].nodes + nodes)
        else:
            groups.append(PrefixGroup(rows=[row], nodes=len(streams[row])))
            weight = weights[row]
    return groups
