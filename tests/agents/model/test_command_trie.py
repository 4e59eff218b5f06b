"""The trie of admissible commands: exact probabilities, nothing paid for what is forced."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.model.command_trie import Trie, build_trie

END = 9
commands = st.lists(
    st.lists(st.integers(0, 3), min_size=1, max_size=5).map(lambda c: [*c, END]), min_size=1, max_size=9
)


def weight(prefix: Sequence[int], token: int) -> float:
    """A policy over tokens by hand: any positive number for any token after any prefix."""
    return 1.0 + hash((*prefix, token)) % 97


def prefix_of(trie: Trie, node: int) -> list[int]:
    tokens = []
    while node > 0:
        tokens.append(trie.tokens[node])
        node = trie.parents[node]
    return tokens[::-1]


def probabilities(trie: Trie) -> list[float]:
    """The product of the choices on the way to each command."""
    found = []
    for path in trie.paths:
        p = 1.0
        for index, child in path:
            prefix = prefix_of(trie, trie.branching[index])
            offered = [weight(prefix, token) for token in trie.alternatives[index]]
            p *= offered[child] / sum(offered)
        found.append(p)
    return found


@settings(max_examples=150, deadline=None)
@given(commands)
def test_product_of_choices_is_the_policy_conditioned_on_admissible_commands(given: list[list[int]]) -> None:
    trie = build_trie(given)

    def exact(command: Sequence[int]) -> float:
        p = 1.0
        for depth, token in enumerate(command):
            rest = {c[depth] for c in map(tuple, given) if c[:depth] == tuple(command[:depth])}
            p *= weight(command[:depth], token) / sum(weight(command[:depth], other) for other in rest)
        return p

    assert np.allclose(probabilities(trie), [exact(command) for command in given])


@settings(max_examples=150, deadline=None)
@given(commands)
def test_distinct_commands_share_probability_one(given: list[list[int]]) -> None:
    trie = build_trie(given)
    no_reduce = [p for i, p in enumerate(probabilities(trie)) if trie.first_of_leaf[i] == i]
    assert sum(no_reduce) == pytest.approx(1.0)
    assert len(no_reduce) == len(set(map(tuple, given)))


@settings(max_examples=150, deadline=None)
@given(commands)
def test_structure(given: list[list[int]]) -> None:
    trie = build_trie(given)
    for index, command in enumerate(given):
        assert [trie.tokens[node] for node in trie.nodes(index)] == command == list(trie.commands[index])
        assert trie.depths[trie.leaves[index]] == len(command)
        assert not trie.children[trie.leaves[index]]
    assert all(parent < node for node, parent in enumerate(trie.parents))  # a parent comes first
    assert len(trie.alternatives) == len(trie.branching)
    assert all(len(tokens) > 1 for tokens in trie.alternatives)  # forced tokens are no choices
    inner = set(trie.inner)
    assert set(trie.branching) - {0} <= inner
    assert all(trie.parents[node] in inner | {0} for node in inner)
    assert not inner & set(trie.leaves)
    for row, node in enumerate(trie.inner):
        seen = {trie.inner[column] for column in np.flatnonzero(trie.ancestors[row])}
        up, node_up = set(), node
        while node_up > 0:
            up.add(node_up)
            node_up = trie.parents[node_up]
        assert seen == up


@settings(max_examples=50, deadline=None)
@given(commands)
def test_every_command_passes_the_first_choice(given: list[list[int]]) -> None:
    trie = build_trie(given)
    if trie.branching:
        assert {path[0][0] for path in trie.paths} == {0}


def test_one_command_costs_nothing() -> None:
    trie = build_trie([[1, 2, END]])
    assert trie.branching == () and trie.inner == () and trie.paths == ((),)


def test_forced_tokens_between_choices_are_read_but_not_chosen() -> None:
    trie = build_trie([[1, 2, 3, END], [1, 2, 4, END], [1, 2, 4, END]])
    assert [prefix_of(trie, node) for node in trie.branching] == [[1, 2]]
    assert [prefix_of(trie, node) for node in trie.inner] == [[1], [1, 2]]
    assert [len(path) for path in trie.paths] == [1, 1, 1]
    assert trie.first_of_leaf == (0, 1, 1)  # a command that is there twice is one command


@pytest.mark.parametrize(
    ("given", "says"),
    [([], "at least one"), ([[1, END], []], "no tokens"), ([[1], [1, 2]], "prefix"), ([[1, 2], [1]], "prefix")],
)
def test_refuses(given: list[list[int]], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build_trie(given)
