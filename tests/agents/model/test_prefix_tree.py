"""Prefix trees by hand, and their properties for random streams."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from agents.model.prefix_tree import PrefixTree, group_by_prefix, lexicographic_order

STREAMS = st.lists(st.lists(st.integers(0, 300), min_size=1, max_size=8), min_size=1, max_size=8)
SIMILAR = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=8), min_size=1, max_size=8)


def arrays(*streams: list[int]) -> list[NDArray[np.int64]]:
    return [np.array(stream, dtype=np.int64) for stream in streams]


def test_a_tree_by_hand() -> None:
    """One root is 1, with 2 - 3 and 7 below it, and 4 and 5 below 3. The other root is 9."""
    tree = PrefixTree.of(arrays([1, 7], [1, 2, 3, 4], [9], [1, 2, 3, 5]))
    assert tree.tokens.tolist() == [1, 2, 3, 4, 5, 7, 9]
    assert tree.depths.tolist() == [0, 1, 2, 3, 3, 1, 0]
    assert tree.ends.tolist() == [6, 5, 5, 4, 5, 6, 7]
    assert tree.nodes.tolist() == [[0, 5, -1, -1], [0, 1, 2, 3], [6, -1, -1, -1], [0, 1, 2, 4]]


def test_equal_streams_and_prefixes_add_no_nodes() -> None:
    tree = PrefixTree.of(arrays([4, 5, 6], [4], [4, 5, 6], [4, 5]))
    assert tree.tokens.tolist() == [4, 5, 6]
    assert tree.ends.tolist() == [3, 3, 3]
    assert tree.nodes.tolist() == [[0, 1, 2], [0, -1, -1], [0, 1, 2], [0, 1, -1]]


@settings(max_examples=200, deadline=None)
@given(STREAMS | SIMILAR)
def test_nodes_are_the_distinct_prefixes(streams: list[list[int]]) -> None:
    tree = PrefixTree.of(arrays(*streams))
    prefixes = {tuple(stream[:end]) for stream in streams for end in range(1, len(stream) + 1)}
    assert len(tree.tokens) == len(tree.depths) == len(tree.ends) == len(prefixes)
    for stream, nodes in zip(streams, tree.nodes, strict=True):
        path = nodes[: len(stream)]
        assert tree.tokens[path].tolist() == stream and (nodes[len(stream) :] == -1).all()
        assert tree.depths[path].tolist() == list(range(len(stream)))
        for position, node in enumerate(path):
            ancestors = [a for a in range(len(tree.tokens)) if a <= node < tree.ends[a]]
            assert ancestors == path[: position + 1].tolist()


@settings(max_examples=200, deadline=None)
@given(STREAMS)
def test_streams_are_ordered_as_lists_are(streams: list[list[int]]) -> None:
    order = list(lexicographic_order(arrays(*streams)))
    ordered = [streams[index] for index, _ in order]
    assert ordered == sorted(streams)
    shared = [len([*itertools.takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False))])
              for a, b in itertools.pairwise(ordered)]  # fmt: skip
    assert [length for _, length in order] == [0, *shared]


@settings(max_examples=200, deadline=None)
@given(STREAMS | SIMILAR, st.integers(1, 40))
def test_groups_fit_the_budget(streams: list[list[int]], budget: int) -> None:
    weights = [1 + len(stream) % 3 for stream in streams]
    groups = group_by_prefix(arrays(*streams), weights, budget=budget)
    assert sorted(row for group in groups for row in group.rows) == list(range(len(streams)))
    for group in groups:
        assert group.nodes == len(PrefixTree.of(arrays(*(streams[row] for row in group.rows))).tokens)
        fits = group.nodes <= budget and sum(weights[row] for row in group.rows) <= budget
        assert fits or len(group.rows) == 1


def test_a_group_ends_where_the_next_stream_exceeds_the_budget() -> None:
    streams = arrays([1, 2, 3], [1, 2, 4], [1, 5], [6])
    found = [(group.rows, group.nodes) for group in group_by_prefix(streams, [1] * 4, budget=4)]
    assert found == [([0, 1], 4), ([2, 3], 3)]
    found = [(group.rows, group.nodes) for group in group_by_prefix(streams, [1, 2, 3, 1], budget=5)]
    assert found == [([0, 1], 4), ([2, 3], 3)]
    assert [group.rows for group in group_by_prefix(streams, [1] * 4, budget=1)] == [[0], [1], [2], [3]]
