"""An engine that caches the responses of a game."""

import warnings
from collections.abc import Callable
from dataclasses import fields, replace

from games.textworld.engines.protocol import Engine, EngineResponse
from games.textworld.transitions.graph import TransitionGraph, is_context_independent
from games.textworld.transitions.nodes import Clock, Edge, EngineState, Node


class CachedEngine(Engine):
    """Plays a game and caches the responses.

    * `graph`: the cache, which several engines can share.
    * `make_stock`: creates an engine that plays in TextWorld's own environment.
    * `is_audited`: returns whether to compare all responses of the next episode with TextWorld's responses.
    * `on_miss`: called for each command whose response is not cached.
    """

    def __init__(
        self,
        graph: TransitionGraph,
        make_stock: Callable[[], Engine],
        *,
        is_audited: Callable[[], bool] = lambda: False,
        on_miss: Callable[[], None] = lambda: None,
    ) -> None:
        self._graph, self._make_stock, self._is_audited, self._on_miss = graph, make_stock, is_audited, on_miss
        self.game_info = graph.game_info
        # steps with and without a cached response, commands played again, responses compared with TextWorld's
        self.counts = {"hits": 0, "misses": 0, "replayed": 0, "audited": 0}
        self._node: Node | None = None
        self._exact_state, self._exact_index = graph.start, 0  # the exact state after this number of commands
        self._commands: list[str] = []
        self._moves = 0
        self._stock: Engine | None = None
        self._stock_only = self._closed = False
        graph.acquire()

    def reset(self) -> EngineResponse:
        graph = self._graph
        self._node, self._exact_state, self._exact_index = graph.root, graph.start, 0
        self._commands, self._moves = [], graph.start.moves
        if self._closed:
            self._closed = False
            graph.acquire()
        self._stock_only = graph.invalid_reason is not None
        if self._stock_only or self._is_audited():
            self._stock = self._stock or self._make_stock()
            return self._audit(graph.opening, self._stock.reset())
        self._close_stock()
        return graph.opening

    def step(self, command: str) -> EngineResponse:
        node = self._node
        if node is not None and self._stock is None:
            edge = node.edges.get(command)
            if edge is not None:
                return self._follow(edge, command)
        if self._stock is None and self._graph.invalid_reason is None:
            return self._expand(command)
        return self._step_with_stock(command)

    def is_cached(self, command: str) -> bool:
        return self._stock is None and self._node is not None and command in self._node.edges

    def close(self) -> None:
        self._close_stock()
        if not self._closed:
            self._closed = True
            self._graph.release()

    def _follow(self, edge: Edge, command: str) -> EngineResponse:
        self._commands.append(command)
        self._moves += edge.turns
        node = self._node = edge.target
        self.counts["hits"] += 1
        if node is not None:
            node.stamp = Clock.now
        return edge.response if edge.text_around_turns is None else edge.response_after(self._moves)

    def _expand(self, command: str) -> EngineResponse:
        """Play a command without a cached response, and cache the response if possible."""
        node = self._node
        self.counts["misses"] += 1
        self._on_miss()
        independent = is_context_independent(command) or (node is not None and command in node.admissible_commands)
        if not independent and self._graph.has_extras:
            self._stock_only = True  # until the next reset
            return self._step_with_stock(command)
        if node is not None and independent:
            state = node.state or self._replay()
            if node.state is None:
                if self._graph.state_key(state) != node.key:
                    self._invalidate("playing the same commands again led elsewhere")
                    return self._step_with_stock(command)
                self._graph.attach_snapshot(node, state)
            edge = self._graph.expand(node, state, command)
            if edge is not None:
                self.counts["hits"] -= 1  # offsets the hit that `_follow` counts: this step is a miss
                return self._follow(edge, command)
        return self._play(command)

    def _play(self, command: str) -> EngineResponse:
        """Play a command without caching the response."""
        graph, state_before = self._graph, self._replay()
        output, state_after = graph.play(state_before, command)
        node = None if output.ended else graph.get_or_create_node(state_after)
        if node is not None:
            state_after = replace(state_after, extras=node.extras)
        response, state_after = graph.response_to(state_before, command, output, state_after)
        self._commands.append(command)
        self._node, self._moves = node, state_after.moves
        self._exact_state, self._exact_index = state_after, len(self._commands)
        return response

    def _replay(self) -> EngineState:
        """Return the exact state of the episode. Play commands again if necessary."""
        state = self._exact_state
        for command in self._commands[self._exact_index :]:
            _, state = self._graph.play(state, command)
            self.counts["replayed"] += 1
        if self._node is not None:
            state = replace(state, extras=self._node.extras)
        self._exact_state, self._exact_index = state, len(self._commands)
        return state

    def _step_with_stock(self, command: str) -> EngineResponse:
        """Play a command in TextWorld's own environment and, in an audited episode, also with the cache."""
        if self._stock is None:
            self._stock = self._make_stock()
            self._stock.reset()
            for earlier_command in self._commands:
                self._stock.step(earlier_command)
        self._stock_only = self._stock_only or self._graph.invalid_reason is not None
        if self._stock_only:
            self._commands.append(command)
            return self._stock.step(command)
        edge = None if self._node is None else self._node.edges.get(command)
        cached_response = self._expand(command) if edge is None else self._follow(edge, command)
        if self._stock_only:  # `_expand` has already played the command in the stock engine
            return cached_response
        return self._audit(cached_response, self._stock.step(command))

    def _audit(self, cached_response: EngineResponse, stock_response: EngineResponse) -> EngineResponse:
        if self._stock_only:
            return stock_response
        self.counts["audited"] += 1
        if cached_response != stock_response:
            names = [
                field.name
                for field in fields(cached_response)
                if getattr(cached_response, field.name) != getattr(stock_response, field.name)
            ]
            self._invalidate(f"after {self._commands!r} {', '.join(names)} differed from TextWorld's own")
        return stock_response

    def _invalidate(self, reason: str) -> None:
        self._stock_only = True
        self._graph.invalidate(reason)
        warnings.warn(
            f"{self._graph.story.name}: the cache of this game was wrong ({reason}); from now on TextWorld's own"
            " environment plays it. Please report this with the game file",
            RuntimeWarning,
            stacklevel=2,
        )

    def _close_stock(self) -> None:
        stock, self._stock = self._stock, None
        if stock is not None:
            stock.close()
