"""A trie over the tokens of the admissible commands.

A node is a token prefix; node 0 is the empty prefix, and a parent has a smaller number than its children. A node with
several children is a choice among exactly their tokens. A node with one child forces the next token, which costs
nothing and is no action. The product of the choices along a command is therefore its exact probability.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Trie:
    """Built by `build_trie`; immutable, so that all turns with the same commands share it."""

    commands: tuple[tuple[int, ...], ...]
    """[commands] the tokens of each command."""
    tokens: tuple[int, ...]
    """[nodes] last token of the prefix; -1 for the root."""
    parents: tuple[int, ...]
    """[nodes] the prefix without its last token; -1 for the root."""
    depths: tuple[int, ...]
    """[nodes] number of tokens in the prefix."""
    children: tuple[tuple[int, ...], ...]
    """[nodes] child nodes, in order of first appearance."""
    leaves: tuple[int, ...]
    """[commands] last node of each command; commands with the same tokens share it."""

    @cached_property
    def branching(self) -> tuple[int, ...]:
        """Nodes with several children, in ascending order: where the policy chooses."""
        return tuple(node for node, below in enumerate(self.children) if len(below) > 1)

    @cached_property
    def alternatives(self) -> tuple[tuple[int, ...], ...]:
        """[branching] the tokens to choose from, in the order of the node's children."""
        return tuple(tuple(self.tokens[child] for child in self.children[node]) for node in self.branching)

    @cached_property
    def paths(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """[commands] the choices of each command as (index into `branching`, index into the node's alternatives)."""
        index = {node: number for number, node in enumerate(self.branching)}
        return tuple(
            tuple(
                (index[parent], self.children[parent].index(node))
                for node in self.nodes(command)
                if (parent := self.parents[node]) in index
            )
            for command in range(len(self.leaves))
        )

    @cached_property
    def first_of_leaf(self) -> tuple[int, ...]:
        """[commands] the first command with the same tokens; usually the command itself."""
        first: dict[int, int] = {}
        return tuple(first.setdefault(leaf, command) for command, leaf in enumerate(self.leaves))

    @cached_property
    def inner(self) -> tuple[int, ...]:
        """The branching nodes and their ancestors without the root, ascending: what a forward pass has to read."""
        needed = set(self.branching)
        for node in range(len(self.parents) - 1, 0, -1):
            if node in needed:
                needed.add(self.parents[node])
        return tuple(sorted(needed - {0}))

    @cached_property
    def ancestors(self) -> NDArray[np.bool_]:
        """[inner, inner] True where the column's node is the row's node or one of its ancestors."""
        index = {node: number for number, node in enumerate(self.inner)}
        sees = np.eye(len(self.inner), dtype=np.bool_)
        for number, node in enumerate(self.inner):
            if self.parents[node] > 0:
                sees[number] |= sees[index[self.parents[node]]]
        return sees

    def nodes(self, command: int) -> list[int]:
        """Nodes along a command, from the root's child to the leaf."""
        nodes, node = [], self.leaves[command]
        while node > 0:
            nodes.append(node)
            node = self.parents[node]
        return nodes[::-1]


def build_trie(commands: Sequence[Sequence[int]]) -> Trie:
    """Build the trie of token sequences [commands][tokens].

    Raises:
        ValueError: there is no command, an empty one, or one that is a proper prefix of another (end every command
            with a terminator).
    """
    if not commands:
        raise ValueError("a trie needs at least one command")
    tokens, parents, depths, leaves = [-1], [-1], [0], []
    children: list[dict[int, int]] = [{}]
    for command in commands:
        if not command:
            raise ValueError("a command has no tokens: expected at least one (is the terminator missing?)")
        node = 0
        for depth, token in enumerate(command, start=1):
            if token not in children[node]:
                children[node][token] = len(tokens)
                tokens.append(token)
                parents.append(node)
                depths.append(depth)
                children.append({})
            node = children[node][token]
        leaves.append(node)
    for index, leaf in enumerate(leaves):
        if children[leaf]:
            raise ValueError(
                f"command {index} {list(commands[index])} is a prefix of another: end commands with a terminator"
            )
    below = tuple(tuple(child.values()) for child in children)
    given = tuple(map(tuple, commands))
    return Trie(given, tuple(tokens), tuple(parents), tuple(depths), below, tuple(leaves))
