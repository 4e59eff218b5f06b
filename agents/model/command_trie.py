"""A trie over the tokens of the admissible commands.

A prefix with several next tokens is a choice among exactly these. A prefix with one next token forces it, which costs
nothing and is no action. The product of the choices along a command is therefore its exact probability.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Tokens = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Trie:
    """Built by `build_trie`; immutable, so that all turns with the same commands share it."""

    commands: tuple[Tokens, ...]
    """[commands] the tokens of each command."""
    following: dict[Tokens, Tokens]
    """Prefix -> its next tokens, both in order of first appearance; a prefix of a prefix comes first."""

    @cached_property
    def branching(self) -> tuple[Tokens, ...]:
        """Prefixes with several next tokens: where the policy chooses."""
        return tuple(prefix for prefix, tokens in self.following.items() if len(tokens) > 1)

    @cached_property
    def alternatives(self) -> tuple[Tokens, ...]:
        """[branching] the tokens to choose from."""
        return tuple(self.following[prefix] for prefix in self.branching)

    @cached_property
    def paths(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """[commands] the choices of each command as (index into `branching`, index into its alternatives)."""
        index = {prefix: number for number, prefix in enumerate(self.branching)}
        return tuple(
            tuple(
                (index[prefix], self.following[prefix].index(token))
                for depth, token in enumerate(command)
                if (prefix := command[:depth]) in index
            )
            for command in self.commands
        )

    @cached_property
    def first_with_same_tokens(self) -> tuple[int, ...]:
        """[commands] index of the first command with the same tokens; usually the command's own."""
        first: dict[Tokens, int] = {}
        return tuple(first.setdefault(tokens, command) for command, tokens in enumerate(self.commands))

    @cached_property
    def inner(self) -> tuple[Tokens, ...]:
        """The nodes that a forward pass has to read: branching prefixes and their prefixes, except the empty one."""
        needed = {prefix[:depth] for prefix in self.branching for depth in range(1, len(prefix) + 1)}
        return tuple(prefix for prefix in self.following if prefix in needed)

    @cached_property
    def ancestors(self) -> NDArray[np.bool_]:
        """[inner, inner] True where the column's prefix is a prefix of the row's, or the same."""
        index = {prefix: number for number, prefix in enumerate(self.inner)}
        sees = np.eye(len(index), dtype=np.bool_)
        for prefix, row in index.items():
            if len(prefix) > 1:
                sees[row] |= sees[index[prefix[:-1]]]
        return sees


def build_trie(commands: Sequence[Sequence[int]]) -> Trie:
    """Build the trie of token sequences [commands][tokens].

    Raises:
        ValueError: there is no command, an empty one, or one that is a proper prefix of another (end every command
            with a terminator).
    """
    if not commands:
        raise ValueError("a trie needs at least one command")
    following: dict[Tokens, dict[int, None]] = {}
    sequences = tuple(map(tuple, commands))
    for command in sequences:
        if not command:
            raise ValueError("a command has no tokens: expected at least one (is the terminator missing?)")
        for depth, token in enumerate(command):
            following.setdefault(command[:depth], {})[token] = None
    for index, command in enumerate(sequences):
        if command in following:
            raise ValueError(f"command {index} {list(command)} is a prefix of another: end commands with a terminator")
    return Trie(sequences, {prefix: tuple(tokens) for prefix, tokens in following.items()})
