"""The nodes and edges of a transition graph."""

from dataclasses import dataclass, field, replace

from games.textworld.engines.protocol import EngineResponse
from games.textworld.upstream.game_state import GameState
from games.textworld.upstream.interpreter import Snapshot

NODE_BYTES, EDGE_BYTES = 900, 400  # approximate sizes, without texts and snapshots


class Clock:
    """Counts the cache misses of this process."""

    now = 0


@dataclass(frozen=True, slots=True)
class EngineState:
    """The exact state of an episode, which determines all later responses."""

    snapshot: Snapshot
    game_state: GameState
    score: int
    moves: int
    extras: dict[str, str] | None  # the requested `description` and `inventory`, or None until they are known


@dataclass(eq=False, slots=True)
class Node:
    """A graph node that represents all exact states with the same key."""

    key: bytes  # the result of `TransitionGraph.state_key`
    score: int
    admissible_commands: tuple[str, ...]
    policy_commands: tuple[str, ...] | None
    extras: dict[str, str]
    state: EngineState | None  # one of these states, or None if the node was loaded from a file
    edges: dict[str, "Edge"] = field(default_factory=dict)
    stamp: int = 0  # the value of `Clock.now` at the last use

    @property
    def size(self) -> int:
        """The approximate size in bytes, without edges."""
        snapshot = 0 if self.state is None else self.state.snapshot.size
        return NODE_BYTES + sum(map(len, self.extras.values())) + snapshot + 8 * len(self.admissible_commands)


@dataclass(eq=False, slots=True)
class Edge:
    """The response to one command in one node."""

    response: EngineResponse
    target: Node | None  # the next node, or None if the game ends
    turns: int  # the number of turns that the command takes, 0 or 1
    # if the last text contains `in N turns`: the text before N, the unit, and the text after the unit
    text_around_turns: tuple[str, str, str] | None = None

    def response_after(self, moves: int) -> EngineResponse:
        """Return `response` with the number of turns (`moves` + 1) inserted into the text."""
        assert self.text_around_turns is not None
        text_before, unit, text_after = self.text_around_turns  # older versions of TextWorld print the unit `turn(s)`
        unit = "turn" if (moves, unit) == (0, "turns") else unit
        return replace(self.response, text=f"{text_before}{moves + 1} {unit}{text_after}")

    @property
    def size(self) -> int:
        return EDGE_BYTES + len(self.response.text)
