"""An engine that computes nothing twice: it walks the graph of what its game has answered before.

What is not in the graph yet is played by the interpreter at a moment that the node stands for. Commands that are
not plain, and questions of the parser, depend on more than a node holds: there the episode's own commands are
played again from the start, and the exact moment is kept until the interpreter waits for a command as usual.
Some episodes are audited: TextWorld's own environment plays along, and one difference ends the use of the graph.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

from games.textworld.engines.protocol import Engine, EngineResponse
from games.textworld.transitions.graph import Clock, Edge, EngineState, Node, Transitions, is_plain

Counts = dict[str, int]


class CachedEngine:
    """One episode at a time over `graph`, which many such engines may share.

    `stock()` makes the engine that plays along in an audit, and that plays on alone where the graph was wrong.
    `audited()` says at each reset whether this episode is audited; `grown()` is called for every command that the
    graph did not know.
    """

    def __init__(
        self,
        graph: Transitions,
        stock: Callable[[], Engine],
        *,
        audited: Callable[[], bool] = lambda: False,
        grown: Callable[[], None] = lambda: None,
    ) -> None:
        self._graph, self._make_stock, self._audited, self._grown = graph, stock, audited, grown
        self.facts = graph.facts
        self.counts: Counts = {"hits": 0, "misses": 0, "replayed": 0, "audited": 0}
        """Steps answered from memory, by the interpreter, steps played again, steps compared."""
        self._node: Node | None = None
        self._exact: EngineState = graph.start
        self._exact_at = 0
        """How many commands of the episode had been played at `_exact`."""
        self._commands: list[str] = []
        self._moves = 0
        self._stock: Engine | None = None
        self._closed = False
        graph.acquire()
        self._alone = False
        """Is the stock engine the one that plays?"""

    def reset(self) -> EngineResponse:
        graph = self._graph
        self._node, self._exact, self._exact_at = graph.root, graph.start, 0
        self._commands, self._moves = [], graph.start.moves
        if self._closed:
            self._closed = False
            graph.acquire()
        self._alone = graph.broken is not None
        if self._alone or self._audited():
            self._stock = self._stock or self._make_stock()
            return self._compare(graph.opening, self._stock.reset())
        self._close_stock()
        return graph.opening

    def step(self, command: str) -> EngineResponse:
        node = self._node
        if node is not None and self._stock is None:
            edge = node.edges.get(command)
            if edge is not None:
                return self._follow(edge, command)
        if self._stock is None and self._graph.broken is None:
            return self._grow(command)
        return self._beside_stock(command)

    def remembers(self, command: str) -> bool:
        """Would this command be answered without the interpreter?"""
        return self._stock is None and self._node is not None and command in self._node.edges

    def close(self) -> None:
        self._close_stock()
        if not self._closed:
            self._closed = True
            self._graph.release()

    def _follow(self, edge: Edge, command: str) -> EngineResponse:
        """Go along an edge."""
        self._commands.append(command)
        self._moves += edge.turns
        node = self._node = edge.node
        self.counts["hits"] += 1
        if node is not None:
            node.stamp = Clock.now
        return edge.answer if edge.counted is None else edge.at(self._moves)

    def _grow(self, command: str) -> EngineResponse:
        """Answer a command that the graph does not know."""
        node = self._node
        self.counts["misses"] += 1
        self._grown()
        plain = is_plain(command) or (node is not None and command in node.admissible_commands)
        if not plain and self._graph.looks:
            self._alone = True  # for the rest of the episode
            return self._beside_stock(command)
        if node is not None and plain:
            place = node.place or self._here()
            if node.place is None:
                if self._graph.key(place) != node.key:
                    return self._differs("playing the same commands again led elsewhere", command)
                self._graph.stand(node, place)
            edge = self._graph.explore(node, place, command)
            if edge is not None:
                self.counts["hits"] -= 1  # it was none
                return self._follow(edge, command)
        return self._play(command)

    def _play(self, command: str) -> EngineResponse:
        """Play a command at the episode's own exact moment."""
        graph, before = self._graph, self._here()
        output, after = graph.play(before, command)
        node = None if output.ended else graph.settle(after)
        if node is not None:
            after = replace(after, extras=node.extras)
        answer, after = graph.answer_at(before, command, output, after)
        self._commands.append(command)
        self._node, self._exact, self._exact_at, self._moves = node, after, len(self._commands), after.moves
        return answer

    def _here(self) -> EngineState:
        """The exact moment of this episode: its commands played again from the last exact one."""
        place = self._exact
        for command in self._commands[self._exact_at :]:
            _, place = self._graph.play(place, command)
            self.counts["replayed"] += 1
        if self._node is not None:
            place = replace(place, extras=self._node.extras)
        self._exact, self._exact_at = place, len(self._commands)
        return place

    def _beside_stock(self, command: str) -> EngineResponse:
        """Answer a command with TextWorld's own environment, alone or to compare with it."""
        if self._stock is None:  # the graph turned out wrong in the middle of this episode
            self._stock = self._make_stock()
            self._stock.reset()
            for before in self._commands:
                self._stock.step(before)
        self._alone = self._alone or self._graph.broken is not None
        if self._alone:
            self._commands.append(command)
            return self._stock.step(command)
        edge = None if self._node is None else self._node.edges.get(command)
        ours = self._grow(command) if edge is None else self._follow(edge, command)
        if self._alone:  # growing found the graph wrong, and asked the stock engine
            return ours
        return self._compare(ours, self._stock.step(command))

    def _compare(self, ours: EngineResponse, theirs: EngineResponse) -> EngineResponse:
        """What TextWorld answers; the graph is given up where it says otherwise."""
        if self._alone:
            return theirs
        self.counts["audited"] += 1
        if ours != theirs:
            names = [name for name in ours.__dataclass_fields__ if getattr(ours, name) != getattr(theirs, name)]
            self._give_up(f"after {self._commands!r} {', '.join(names)} differed from TextWorld's own")
        return theirs

    def _differs(self, why: str, command: str) -> EngineResponse:
        self._give_up(why)
        return self._beside_stock(command)

    def _give_up(self, why: str) -> None:
        self._alone = True
        self._graph.give_up(why)
        warnings.warn(
            f"{self._graph.story.name}: what was remembered of this game was wrong ({why}); from now on TextWorld's own"
            " environment plays it. Please report this with the game file",
            RuntimeWarning,
            stacklevel=2,
        )

    def _close_stock(self) -> None:
        stock, self._stock = self._stock, None
        if stock is not None:
            stock.close()
