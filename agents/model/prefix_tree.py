"""The prefix tree of token streams."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

Indices: TypeAlias = NDArray[np.int64]
LEAST_SHARING = 1.25
"""Streams are packed into a tree if they have at least this number of tokens per node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixTree:
    """The prefix tree of n token streams, with P nodes in depth-first order.

    Attributes:
        tokens: [P] token id of each node.
        depths: [P] number of ancestors of each node.
        ends: [P] index of the first node after the descendants of each node.
        nodes: [n, L] node index at each of up to L positions of each stream, padded with -1.
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
    """Convert positions in streams to rows and columns of the trunk's input.

    With a `tree`, all nodes are in one row.
    """
    return (rows, positions) if tree is None else (np.zeros_like(rows), tree.nodes[rows, positions])


def lexicographic_order(streams: Sequence[Indices]) -> Iterator[tuple[int, int]]:
    """Yield (index, shared) for each stream, in lexicographic order.

    `shared` is the length of the common prefix with the previous stream.
    """
    previous = np.empty(0, dtype=np.int64)
    # the order of big-endian bytes is that of non-negative integers
    for row in sorted(range(len(streams)), key=lambda index: streams[index].astype(">i8").tobytes()):
        length = min(len(previous), len(streams[row]))
        differs = previous[:length] != streams[row][:length]
        yield row, int(differs.argmax()) if differs.any() else length
        previous = streams[row]


def sharing_pays(streams: Sequence[Indices], nodes: int) -> bool:
    """Return whether the total stream length is at least `LEAST_SHARING` * nodes."""
    return sum(map(len, streams)) >= LEAST_SHARING * nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixGroup:
    """A group of streams.

    Attributes:
        rows: indices of the streams.
        nodes: number of nodes of the group's prefix tree.
    """

    rows: list[int]
    nodes: int


def group_by_prefix(streams: Sequence[Indices], weights: Sequence[int], *, budget: int) -> list[PrefixGroup]:
    """Partition streams into groups, with one prefix tree per group.

    `budget` limits the number of nodes and the total weight of each group.
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
