"""A trie over the tokens of the admissible commands: what the policy may choose, and where it really chooses.

A node is a token prefix. Where a node has one child, the next token is forced: it costs nothing and is no
action. Where it has several, the policy chooses among exactly these tokens, so the product of the choices on
the way to a command is its exact probability. Nodes are numbered so that a parent comes before its children;
node 0 is the empty prefix. Knows token ids only: no text, no model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Trie:
    """Built by `build_trie`; immutable, so that one trie can serve every turn with the same commands."""

    tokens: tuple[int, ...]
    """[nodes] token that leads into the node; -1 for the root."""
    parents: tuple[int, ...]
    """[nodes] the prefix without its last token; -1 for the root."""
    depths: tuple[int, ...]
    """[nodes] number of tokens in the prefix."""
    children: tuple[tuple[int, ...], ...]
    """[nodes] child nodes, in order of first appearance."""
    leaves: tuple[int, ...]
    """[commands] node that ends each command; commands with the same tokens share one."""

    @cached_property
    def branching(self) -> tuple[int, ...]:
        """Nodes at which the policy chooses: those with two children or more."""
        return tuple(node for node, below in enumerate(self.children) if len(below) > 1)

    @cached_property
    def inner(self) -> tuple[int, ...]:
        """Nodes, without the root, that must be read before every choice can be made.

        These are the branching nodes and the nodes on the way to them; parents come first.
        """
        wanted: set[int] = set()
        for node in self.branching:
            while node > 0 and node not in wanted:
                wanted.add(node)
                node = self.parents[node]
        return tuple(sorted(wanted))

    @cached_property
    def alternatives(self) -> dict[int, tuple[int, ...]]:
        """Branching node -> the tokens it offers, in the order of its children."""
        return {node: tuple(self.tokens[child] for child in self.children[node]) for node in self.branching}

    @cached_property
    def paths(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """[commands] the choices on the way to each command, as (branching node, index of the child taken)."""
        return tuple(self._choices(leaf) for leaf in self.leaves)

    @cached_property
    def first_of_leaf(self) -> tuple[int, ...]:
        """[commands] the first command that has the same tokens; a command's own index where it is alone."""
        first: dict[int, int] = {}
        return tuple(first.setdefault(leaf, command) for command, leaf in enumerate(self.leaves))

    @cached_property
    def ancestors(self) -> NDArray[np.bool_]:
        """[inner, inner] True where the column's node is the row's node or one of its ancestors."""
        place = {node: index for index, node in enumerate(self.inner)}
        sees = np.eye(len(self.inner), dtype=np.bool_)
        for index, node in enumerate(self.inner):
            if self.parents[node] > 0:
                sees[index] |= sees[place[self.parents[node]]]
        return sees

    def path(self, command: int) -> list[int]:
        """Nodes from the command's leaf up to the root, without the root."""
        nodes, node = [], self.leaves[command]
        while node > 0:
            nodes.append(node)
            node = self.parents[node]
        return nodes

    def _choices(self, node: int) -> tuple[tuple[int, int], ...]:
        choices: list[tuple[int, int]] = []
        while node > 0:
            parent = self.parents[node]
            if len(self.children[parent]) > 1:
                choices.append((parent, self.children[parent].index(node)))
            node = parent
        return tuple(choices[::-1])


def build_trie(commands: Sequence[Sequence[int]]) -> Trie:
    """The trie of token sequences [commands][tokens].

    No sequence may be a proper prefix of another (end every command with a terminator token).

    Raises:
        ValueError: no command, an empty one, or one that is a proper prefix of another.
    """
    if not commands:
        raise ValueError("a trie needs at least one command")
    tokens, parents, depths = [-1], [-1], [0]
    children: list[dict[int, int]] = [{}]
    leaves = []
    for command in commands:
        if not command:
            raise ValueError("a command has no tokens: expected at least one (is the terminator missing?)")
        node = 0
        for token in command:
            if token not in children[node]:
                children[node][token] = len(tokens)
                tokens.append(token)
                parents.append(node)
                depths.append(depths[node] + 1)
                children.append({})
            node = children[node][token]
        leaves.append(node)
    for index, leaf in enumerate(leaves):
        if children[leaf]:
            raise ValueError(
                f"command {index} {list(commands[index])} is a prefix of another: end commands with a terminator"
            )
    below = tuple(tuple(child.values()) for child in children)
    return Trie(tuple(tokens), tuple(parents), tuple(depths), below, tuple(leaves))
