"""The trie of admissible commands: exact probabilities, and no cost for forced tokens."""

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
    """An arbitrary policy: a positive weight for any token after any prefix."""
    return 1.0 + hash((*prefix, token)) % 97


def probabilities(trie: Trie) -> list[float]:
    """The product of the choices along each command."""
    products = []
    for path in trie.paths:
        p = 1.0
        for index, child in path:
            offered = [weight(trie.branching[index], token) for token in trie.alternatives[index]]
            p *= offered[child] / sum(offered)
        products.append(p)
    return products


@settings(max_examples=150, deadline=None)
@given(commands)
def test_the_product_of_choices_is_the_policy_conditioned_on_admissible_commands(given: list[list[int]]) -> None:
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
    distinct = [p for i, p in enumerate(probabilities(trie)) if trie.first_with_same_tokens[i] == i]
    assert sum(distinct) == pytest.approx(1.0)
    assert len(distinct) == len(set(map(tuple, given)))


@settings(max_examples=150, deadline=None)
@given(commands)
def test_the_structure_matches_the_commands(given: list[list[int]]) -> None:
    trie = build_trie(given)
    assert [list(command) for command in trie.commands] == given
    following: dict[tuple[int, ...], set[int]] = {}
    for command in trie.commands:
        for depth, token in enumerate(command):
            following.setdefault(command[:depth], set()).add(token)
    assert {prefix: set(tokens) for prefix, tokens in trie.next_tokens.items()} == following
    assert all(len(tokens) == len(set(tokens)) for tokens in trie.next_tokens.values())
    order = list(trie.next_tokens)
    assert all(order.index(prefix[:-1]) < order.index(prefix) for prefix in order if prefix)  # a parent comes first
    assert set(trie.branching) == {prefix for prefix, tokens in following.items() if len(tokens) > 1}
    for command, path in zip(trie.commands, trie.paths, strict=True):
        chosen = {trie.branching[index]: trie.alternatives[index][child] for index, child in path}
        assert chosen == {p: command[len(p)] for p in trie.branching if command[: len(p)] == p and p != command}
    inner = set(trie.input_nodes)
    assert set(trie.branching) - {()} <= inner
    assert all(prefix[:-1] in inner | {()} for prefix in inner)
    assert all(any(prefix == node[: len(prefix)] for node in trie.branching) for prefix in inner)
    for row, prefix in enumerate(trie.input_nodes):
        seen = {trie.input_nodes[column] for column in np.flatnonzero(trie.ancestors[row])}
        assert seen == {prefix[:depth] for depth in range(1, len(prefix) + 1)}


@settings(max_examples=50, deadline=None)
@given(commands)
def test_every_command_passes_the_first_branching_prefix(given: list[list[int]]) -> None:
    trie = build_trie(given)
    if trie.branching:
        assert {path[0][0] for path in trie.paths} == {0}


def test_a_single_command_has_no_choice() -> None:
    trie = build_trie([[1, 2, END]])
    assert trie.branching == () and trie.input_nodes == () and trie.paths == ((),)


def test_forced_tokens_between_choices_are_read_but_not_chosen() -> None:
    trie = build_trie([[1, 2, 3, END], [1, 2, 4, END], [1, 2, 4, END]])
    assert trie.branching == ((1, 2),)
    assert trie.input_nodes == ((1,), (1, 2))
    assert [len(path) for path in trie.paths] == [1, 1, 1]
    assert trie.first_with_same_tokens == (0, 1, 1)  # equal commands count once


@pytest.mark.parametrize(
    ("given", "message"),
    [([], "at least one"), ([[1, END], []], "no tokens"), ([[1], [1, 2]], "prefix"), ([[1, 2], [1]], "prefix")],
)
def test_invalid_commands_are_refused(given: list[list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_trie(given)
