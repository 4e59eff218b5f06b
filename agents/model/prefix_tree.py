"""The prefix tree of token streams."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

Indices: TypeAlias = NDArray[np.int64]
LEAST_SHARING = 1.25
"""Streams are packed if they have this number of tokens per node of their tree. Packed attention is slower."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixTree:
    """The P nodes of the prefix tree of n streams, in depth-first order.

    Node a is node b or an ancestor of b if and only if a <= b < ends[a].

    Attributes:
        tokens: [P] token ids.
        depths: [P] number of ancestors, which equals the position in a stream.
        ends: [P] index of the first node after the node's descendants.
        nodes: [n, L] index of the node at each position of each stream, padded with -1.
    """

    tokens: Indices
    depths: Indices
    ends: Indices
    nodes: Indices

    @classmethod
    def of(cls, streams: Sequence[Indices]) -> Self:
        """Build the tree of one or more non-empty streams."""
        nodes = np.full((len(streams), max(map(len, streams))), -1, dtype=np.int64)
        size, path = 0, np.empty(0, dtype=np.int64)  # number of nodes; nodes of the previous stream
        tokens, depths, ends = np.empty((3, sum(map(len, streams))), dtype=np.int64)
        for row, shared in lexicographic_order(streams):
            stream = streams[row]
            ends[path[shared:]] = size  # no later stream passes through these nodes
            new_nodes = np.arange(size, size + len(stream) - shared)
            tokens[new_nodes], depths[new_nodes] = stream[shared:], np.arange(shared, len(stream))
            nodes[row, : len(stream)] = path = np.concatenate([path[:shared], new_nodes])
            size += len(new_nodes)
        ends[path] = size
        return cls(tokens=tokens[:size], depths=depths[:size], ends=ends[:size], nodes=nodes)


def locate(tree: PrefixTree | None, rows: Indices, positions: Indices) -> tuple[Indices, Indices]:
    """Convert stream indices `rows` [n] and `positions` [n] to rows and columns of the trunk's input.

    With a `tree`, the input is a single row of its nodes.
    """
    return (rows, positions) if tree is None else (np.zeros_like(rows), tree.nodes[rows, positions])


def lexicographic_order(streams: Sequence[Indices]) -> Iterator[tuple[int, int]]:
    """Yield pairs (stream index, prefix length), in lexicographic order of the streams.

    The prefix is the longest one that the stream shares with the previous stream.
    """
    previous = np.empty(0, dtype=np.int64)
    # the order of big-endian bytes is that of non-negative integers
    for row in sorted(range(len(streams)), key=lambda index: streams[index].astype(">i8").tobytes()):
        length = min(len(previous), len(streams[row]))
        differs = previous[:length] != streams[row][:length]
        yield row, int(differs.argmax()) if differs.any() else length
        previous = streams[row]


def sharing_pays(streams: Sequence[Indices], nodes: int) -> bool:
    """Return whether packing the streams into a tree of `nodes` nodes saves enough tokens."""
    return sum(map(len, streams)) >= LEAST_SHARING * nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixGroup:
    """Streams whose prefix tree has `nodes` nodes. `rows` holds their indices."""

    rows: list[int]
    nodes: int


def group_by_prefix(streams: Sequence[Indices], weights: Sequence[int], *, budget: int) -> list[PrefixGroup]:
    """Partition streams into groups, each of which has a prefix tree.

    A tree has at most `budget` nodes, and the weights of its streams sum to at most `budget`. A single stream can
    exceed both limits.
    """
    groups, weight = list[PrefixGroup](), 0
    for row, shared in lexicographic_order(streams):
        nodes, weight = len(streams[row]) - shared, weight + weights[row]
        if groups and groups[-1].nodes + nodes <= budget and weight <= budget:
            groups[-1] = PrefixGroup(rows=[*groups[-1].rows, row], nodes=groups[-1].nodes + nodes)
        else:
            groups.append(PrefixGroup(rows=[row], nodes=len(streams[row])))
            weight = weights[row]
    return groups
