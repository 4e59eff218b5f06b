"""The nodes and edges of a transition graph."""

from dataclasses import dataclass, field, replace

from games.textworld.engines.protocol import EngineResponse
from games.textworld.upstream.game_state import GameState
from games.textworld.upstream.interpreter import Snapshot

NODE_BYTES, EDGE_BYTES = 900, 400  # approximate sizes, without texts and snapshots


class Clock:
    """Counts the cache misses of all games. The nodes with the lowest count at their last use are evicted first."""

    now = 0


@dataclass(frozen=True, slots=True)
class EngineState:
    """The exact state of an episode, which determines all later responses.

    `extras` holds the texts of `description` and `inventory`, if they were requested. It is None until the interpreter
    has printed them.
    """

    snapshot: Snapshot
    game_state: GameState
    score: int
    moves: int
    extras: dict[str, str] | None


@dataclass(eq=False, slots=True)
class Node:
    """A node of the transition graph. It stands for all exact states that have the same key.

    `state` is one of these states, or None for a node that was loaded from a file and has no snapshot yet. `stamp` is
    the value of `Clock.now` at the node's last use.
    """

    key: bytes
    score: int
    admissible_commands: tuple[str, ...]
    policy_commands: tuple[str, ...] | None
    extras: dict[str, str]
    state: EngineState | None
    edges: dict[str, "Edge"] = field(default_factory=dict)
    stamp: int = 0

    @property
    def size(self) -> int:
        """The approximate size in bytes, without edges."""
        snapshot = 0 if self.state is None else self.state.snapshot.size
        return NODE_BYTES + sum(map(len, self.extras.values())) + snapshot + 8 * len(self.admissible_commands)


@dataclass(eq=False, slots=True)
class Edge:
    """The response to one command in one node.

    `node` is the next node, or None if the game ends. `turns` is the number of turns that the command takes, 0 or 1.

    The last text of a game may contain `in N turns`. (Older versions of TextWorld print `turn(s)`.) `text_around_turns`
    is then a tuple (text before N, `turns` or `turn(s)`, text after this word).
    """

    response: EngineResponse
    node: Node | None
    turns: int
    text_around_turns: tuple[str, str, str] | None = None

    def response_after(self, moves: int) -> EngineResponse:
        """Return the last response, with `moves` + 1 as the number of turns in its text.

        `moves` is the episode's number of moves, including the last command.
        """
        assert self.text_around_turns is not None
        before, unit, after = self.text_around_turns
        unit = "turn" if (moves, unit) == (0, "turns") else unit
        return replace(self.response, text=f"{before}{moves + 1} {unit}{after}")

    @property
    def size(self) -> int:
        return EDGE_BYTES + len(self.response.text)
