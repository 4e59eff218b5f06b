"""A trie of commands, which are sequences of tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Tokens = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Trie:
    """A trie of commands. Each node is a prefix of a command.

    `next_tokens` maps each proper prefix to the possible next tokens.
    """

    commands: tuple[Tokens, ...]
    next_tokens: dict[Tokens, Tokens]  # a prefix precedes its extensions

    @cached_property
    def branching(self) -> tuple[Tokens, ...]:
        """The nodes with several next tokens."""
        return tuple(prefix for prefix, tokens in self.next_tokens.items() if len(tokens) > 1)

    @cached_property
    def alternatives(self) -> tuple[Tokens, ...]:
        """The next tokens of each branching node."""
        return tuple(self.next_tokens[prefix] for prefix in self.branching)

    @cached_property
    def paths(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """The choices of each command, as pairs (i, j).

        A pair selects the token `alternatives[i][j]` at the node `branching[i]`.
        """
        index = {prefix: number for number, prefix in enumerate(self.branching)}
        return tuple(
            tuple(
                (index[prefix], self.next_tokens[prefix].index(token))
                for depth, token in enumerate(command)
                if (prefix := command[:depth]) in index
            )
            for command in self.commands
        )

    @cached_property
    def first_with_same_tokens(self) -> tuple[int, ...]:
        """For each command, the index of the first command with the same tokens."""
        first: dict[Tokens, int] = {}
        return tuple(first.setdefault(tokens, command) for command, tokens in enumerate(self.commands))

    @cached_property
    def input_nodes(self) -> tuple[Tokens, ...]:
        """The branching nodes and their ancestors, without the empty prefix."""
        prefixes = {prefix[:depth] for prefix in self.branching for depth in range(1, len(prefix) + 1)}
        return tuple(prefix for prefix in self.next_tokens if prefix in prefixes)

    @cached_property
    def ancestors(self) -> NDArray[np.bool_]:
        """Boolean matrix. Entry [i, j] is True if `input_nodes[i]` begins with `input_nodes[j]`."""
        index = {prefix: row for row, prefix in enumerate(self.input_nodes)}
        matrix = np.eye(len(index), dtype=np.bool_)
        for prefix, row in index.items():
            if len(prefix) > 1:
                matrix[row] |= matrix[index[prefix[:-1]]]
        return matrix


def build_trie(commands: Sequence[Sequence[int]]) -> Trie:
    """Build the trie of commands.

    Raise ValueError if a command is empty or a proper prefix of another command.
    """
    if not commands:
        raise ValueError("a trie needs at least one command")
    next_tokens: dict[Tokens, dict[int, None]] = {}
    sequences = tuple(map(tuple, commands))
    for command in sequences:
        if not command:
            raise ValueError("a command has no tokens: expected at least one (is the terminator missing?)")
        for depth, token in enumerate(command):
            next_tokens.setdefault(command[:depth], {})[token] = None
    for index, command in enumerate(sequences):
        if command in next_tokens:
            raise ValueError(f"command {index} {list(command)} is a prefix of another: end commands with a terminator")
    return Trie(sequences, {prefix: tuple(tokens) for prefix, tokens in next_tokens.items()})
