"""The prefix tree of token streams. Streams that begin with the same tokens share the nodes of these tokens.

TextWorld is deterministic, and a trained agent repeats its commands. The streams of a rollout therefore have long
common prefixes. A causal decoder computes the same hidden states for equal prefixes. One row that holds each node of
the tree can therefore replace all streams (see `agents.model.packed_attention`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

Indices: TypeAlias = NDArray[np.int64]
LEAST_SHARING = 1.25
"""Minimum number of tokens per node at which streams are packed. It exceeds 1, because packed attention is slower."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixTree:
    """The P nodes of the prefix tree of n streams, in depth-first order.

    Node a is node b or an ancestor of b if and only if a <= b < ends[a].

    Attributes:
        tokens: [P] token id of each node.
        depths: [P] number of ancestors of each node, which equals the token's position in its streams.
        ends: [P] index of the first node after each node's descendants.
        nodes: [n, L] index of the node at each position of each stream, padded with -1.
    """

    tokens: Indices
    depths: Indices
    ends: Indices
    nodes: Indices

    @classmethod
    def of(cls, streams: Sequence[Indices]) -> Self:
        """Build the tree of n >= 1 streams, each of which has at least one token."""
        nodes = np.full((len(streams), max(map(len, streams))), -1, dtype=np.int64)
        size, path = 0, np.empty(0, dtype=np.int64)  # number of nodes; nodes of the previous stream
        tokens, depths, ends = np.empty((3, sum(map(len, streams))), dtype=np.int64)
        for row, shared in lexicographic_order(streams):
            stream = streams[row]
            ends[path[shared:]] = size  # no later stream passes through these nodes
            new = np.arange(size, size + len(stream) - shared)
            tokens[new], depths[new] = stream[shared:], np.arange(shared, len(stream))
            nodes[row, : len(stream)] = path = np.concatenate([path[:shared], new])
            size += len(new)
        ends[path] = size
        return cls(tokens=tokens[:size], depths=depths[:size], ends=ends[:size], nodes=nodes)


def locate(tree: PrefixTree | None, rows: Indices, positions: Indices) -> tuple[Indices, Indices]:
    """Return the indices of n tokens in a batch, as a tuple (batch rows [n], positions in these rows [n]).

    `rows` [n] holds the index of each token's stream, and `positions` [n] the token's position in this stream. If
    `tree` is None, each row of the batch is a stream. Otherwise, the batch is a single row with the nodes of the tree.
    """
    return (rows, positions) if tree is None else (np.zeros_like(rows), tree.nodes[rows, positions])


def lexicographic_order(streams: Sequence[Indices]) -> Iterator[tuple[int, int]]:
    """Yield pairs (index of a stream, length of its common prefix with the previous stream) in lexicographic order.

    A prefix of a stream precedes the stream. The common prefix of the first stream has length 0.
    """
    last = np.empty(0, dtype=np.int64)
    # the order of big-endian bytes is that of non-negative integers
    for row in sorted(range(len(streams)), key=lambda index: streams[index].astype(">i8").tobytes()):
        length = min(len(last), len(streams[row]))
        different = last[:length] != streams[row][:length]
        yield row, int(different.argmax()) if different.any() else length
        last = streams[row]


def sharing_pays(streams: Sequence[Indices], nodes: int) -> bool:
    """Return whether a prefix tree of `nodes` nodes saves enough tokens to pack the streams (see `LEAST_SHARING`)."""
    return sum(map(len, streams)) >= LEAST_SHARING * nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixGroup:
    """Streams that share a prefix tree of `nodes` nodes. `rows` holds their indices, in lexicographic order."""

    rows: list[int]
    nodes: int


def group_by_prefix(streams: Sequence[Indices], weights: Sequence[int], *, budget: int) -> list[PrefixGroup]:
    """Partition streams into groups. The streams of a group share a prefix tree.

    A group consists of consecutive streams in lexicographic order, because these have the longest common prefixes. Its
    prefix tree has at most `budget` nodes, and the `weights` of its streams add up to at most `budget`. Only a group of
    a single stream may exceed these limits.
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
