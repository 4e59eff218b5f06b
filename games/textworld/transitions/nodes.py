"""The nodes and edges of a transition graph."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from games.textworld.engines.protocol import EngineResponse
from games.textworld.upstream.game_state import GameState
from games.textworld.upstream.interpreter import Snapshot

NODE_BYTES, EDGE_BYTES = 900, 400
"""The approximate sizes of a node and of an edge in bytes, without their texts and the node's snapshot."""


class Clock:
    """Counts the cache misses of all games.

    Each node stores the count at its last use. The nodes with the lowest counts are evicted first.
    """

    now = 0


@dataclass(frozen=True, slots=True)
class EngineState:
    """The exact state of an episode, which determines all later responses.

    `snapshot` holds the interpreter's memory, and `game_state` the facts and the progress of the quests. `extras` holds
    the texts of `description` and `inventory`, if they were requested. It is None as long as the interpreter has not
    printed them.
    """

    snapshot: Snapshot
    game_state: GameState
    score: int
    moves: int
    extras: dict[str, str] | None


@dataclass(eq=False, slots=True)
class Node:
    """A node of the transition graph. It stands for all exact states that have the same key.

    `state` is one of these states, or None if the node was loaded from a file and has no snapshot yet. `stamp` is the
    value of `Clock.now` when the node was last used.
    """

    key: bytes
    score: int
    admissible_commands: tuple[str, ...]
    policy_commands: tuple[str, ...] | None
    extras: dict[str, str]
    state: EngineState | None
    edges: dict[str, Edge] = field(default_factory=dict)
    stamp: int = 0

    @property
    def size(self) -> int:
        """The approximate size of the node in bytes, without its edges."""
        texts = sum(map(len, self.extras.values()))
        snapshot = 0 if self.state is None else self.state.snapshot.size
        return NODE_BYTES + texts + snapshot + 8 * len(self.admissible_commands)


@dataclass(eq=False, slots=True)
class Edge:
    """The response to one command in one node.

    `node` is the next node, or None if the game ends. `turns` is the number of turns that the command takes, 0 or 1.
    If the game ends with a text that contains `in N turns`, `text_around_turns` is a tuple (text before the number,
    `turns` or `turn(s)`, text after this word). Older versions of TextWorld print `in N turn(s)`.
    """

    response: EngineResponse
    node: Node | None
    turns: int
    text_around_turns: tuple[str, str, str] | None = None

    def response_after(self, moves: int) -> EngineResponse:
        """Return the response with the number of turns inserted into its text.

        `moves` is the number of moves of the episode after this command.
        """
        assert self.text_around_turns is not None
        before, unit, after = self.text_around_turns
        count = moves + 1
        unit = "turn" if (count, unit) == (1, "turns") else unit
        return replace(self.response, text=f"{before}{count} {unit}{after}")

    @property
    def size(self) -> int:
        """The approximate size of the edge in bytes."""
        return EDGE_BYTES + len(self.response.text)
