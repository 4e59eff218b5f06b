"""The nodes and edges of a transition graph."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from games.textworld.engines.protocol import EngineResponse
from games.textworld.upstream.game_state import GameState
from games.textworld.upstream.interpreter import Snapshot

NODE_BYTES, EDGE_BYTES = 900, 400
"""Approximate sizes of a node and an edge without their texts."""


class Clock:
    """Counts cache misses over all games; the stamps of nodes order them by their last use."""

    now = 0


@dataclass(frozen=True, slots=True)
class EngineState:
    """The exact state of an episode: of the interpreter and of the record."""

    snapshot: Snapshot
    game_state: GameState
    score: int
    moves: int
    extras: dict[str, str] | None
    """`description` and `inventory`, where asked for; None where a turn was played and neither was printed since."""


@dataclass(eq=False, slots=True)
class Node:
    """A state of the game."""

    key: bytes
    score: int
    admissible_commands: tuple[str, ...]
    policy_commands: tuple[str, ...] | None
    extras: dict[str, str]
    state: EngineState | None
    """An exact state that this node stands for; None where the node was read from a file."""
    edges: dict[str, Edge] = field(default_factory=dict)
    stamp: int = 0
    """The time of its last use (`Clock`)."""

    @property
    def size(self) -> int:
        """The approximate number of bytes, without edges."""
        texts = sum(map(len, self.extras.values()))
        snapshot = 0 if self.state is None else self.state.snapshot.size
        return NODE_BYTES + texts + snapshot + 8 * len(self.admissible_commands)


@dataclass(eq=False, slots=True)
class Edge:
    """The response to one command in one node."""

    response: EngineResponse
    node: Node | None
    """The next node; None where the game ends."""
    turns: int
    """The number of turns that the command takes, 0 or 1."""
    text_around_turns: tuple[str, str] | None = None
    """At an end whose text contains the number of turns: the text before and after it."""

    def response_after(self, moves: int) -> EngineResponse:
        """Return the response in an episode of `moves` moves, this one included."""
        if self.text_around_turns is None:
            return self.response
        before, after = self.text_around_turns
        count = moves + 1
        return replace(self.response, text=f"{before}in {count} turn{'' if count == 1 else 's'}{after}")

    @property
    def size(self) -> int:
        """The approximate number of bytes."""
        return EDGE_BYTES + len(self.response.text)
