"""A graph of the responses of one game. The nodes are states of the game, and the edges are commands."""

import hashlib
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from games.errors import GameError
from games.textworld.engines.protocol import EngineResponse, game_info, intermediate_reward
from games.textworld.transitions.nodes import Clock, Edge, EngineState, Node
from games.textworld.upstream.game_state import Tracker
from games.textworld.upstream.interpreter import Interpreter, Output
from games.textworld.upstream.start import load_record

TURNS = re.compile(r"(?<=\bin )(\d+) (turns?\b(?!\()|turn\(s\))")
CONTEXT_WORDS = frozenset(("it", "them", "him", "her", "this", "that", "these", "those", "one", "ones", "score"))
GRAPH_BYTES = 1_100_000  # the approximate size of an empty graph


def is_context_independent(command: str) -> bool:
    """Return whether `command` contains neither a pronoun nor `score`.

    The response to a pronoun or to `score` depends on earlier commands.
    """
    return CONTEXT_WORDS.isdisjoint(command.split())


class TransitionGraph:
    """The thread-safe transition graph of one game."""

    def __init__(self, story: Path, infos: Sequence[str]) -> None:
        self.story, self.infos = story, tuple(infos)
        self._extras = tuple(name for name in ("inventory", "description") if name in infos)
        # with extras, TextWorld looks after every turn, which changes what "it" means; the graph looks once per node
        self.has_extras = bool(self._extras)
        self.lock = threading.RLock()
        self.nodes: dict[bytes, Node] = {}
        self.bytes = GRAPH_BYTES  # the approximate size of the graph
        self.invalid_reason: str | None = None
        self.users = 0  # the number of open engines
        self._interpreter: Interpreter | None = None
        try:
            game = load_record(story)
            self._tracker = Tracker(game, policies=not {"policy_commands", "intermediate_reward"}.isdisjoint(infos))
            interpreter = self._open_interpreter()
        except (KeyError, TypeError, AttributeError, IndexError, AssertionError) as error:
            raise GameError(f"{story}: TextWorld cannot read this game ({type(error).__name__})") from error
        self.game_info = game_info(game)
        start = EngineState(interpreter.start, self._tracker.start, interpreter.score, interpreter.moves, None)
        root = self.get_or_create_node(start)
        assert root is not None and root.state is not None
        self.root, self.start = root, root.state
        self.opening = self.response_in(root, interpreter.opening, 0)

    def expand(self, node: Node, state: EngineState, command: str) -> Edge | None:
        """Play a context-independent command in `state`, which belongs to `node`.

        Return the edge of the command, or None if the response cannot be cached.
        """
        with self.lock:
            node = self._restore(node)
            if command in node.edges:
                return node.edges[command]
            output, state_after = self.play(state, command)
            edge, turns = None, state_after.moves - state.moves
            if output.ended:
                response, _ = self.response_to(state, command, output, state_after)
                edge = _last_edge(response, turns, state_after.moves)
            elif (target := self.get_or_create_node(state_after)) is not None:
                reward = intermediate_reward(node.policy_commands, target.policy_commands, won=False, lost=False)
                edge = Edge(self.response_in(target, output.text, reward), target, turns)
            if edge is not None and self.invalid_reason is None:
                node.edges[command] = edge
                self.bytes += edge.size
            return edge

    def play(self, state: EngineState, command: str) -> tuple[Output, EngineState]:
        """Play a command in `state`. Return (output, next state)."""
        with self.lock:
            interpreter = self._open_interpreter()
            interpreter.load(state.snapshot)
            output = interpreter.step(command)
            game_state = self._tracker.advance(state.game_state, output.events)
            if output.moves is None or output.score is None:  # the command took no turn
                return output, EngineState(interpreter.save(), game_state, state.score, state.moves, state.extras)
            extras: dict[str, str] | None = None if self._extras else {}
            return output, EngineState(interpreter.save(), game_state, output.score, output.moves, extras)

    def get_or_create_node(self, state: EngineState) -> Node | None:
        """Return the node of `state`, or None if the game does not wait for a command."""
        with self.lock:
            interpreter = self._open_interpreter()
            if not interpreter.at_prompt(state.snapshot):
                return None
            key = self.state_key(state)
            node = self.nodes.get(key)
            if node is None:
                extras = state.extras
                if extras is None:
                    interpreter.load(state.snapshot)
                    extras = interpreter.describe(self._extras)
                node = self.nodes[key] = self._make_node(key, state, extras)
                self.bytes += node.size
            self.attach_snapshot(node, state)
            node.stamp = Clock.now
            return node

    def attach_snapshot(self, node: Node, state: EngineState) -> None:
        """Store `state` in `node` if the node has no state yet."""
        with self.lock:
            node = self._restore(node)
            if node.state is None:
                node.state = replace(state, extras=node.extras)
                self.bytes += state.snapshot.size

    def state_key(self, state: EngineState) -> bytes:
        """Return the key of the node to which `state` belongs."""
        interpreter = self._open_interpreter()
        # not the whole memory, which has a turn counter; texts list things in the order of the object tree
        parts = (state.game_state.key, interpreter.object_tree(state.snapshot), interpreter.stack(state.snapshot))
        return hashlib.blake2b(b"%d " % state.score + b" ".join(parts), digest_size=16).digest()

    def response_to(
        self, state_before: EngineState, command: str, output: Output, state_after: EngineState
    ) -> tuple[EngineResponse, EngineState]:
        """Return (response, `state_after` with `extras` filled in) for a command without a cached response."""
        with self.lock:
            # after the end, and before an answer to the parser, these texts cannot be printed
            if state_after.extras is None:
                interpreter = self._open_interpreter()
                interpreter.load(state_before.snapshot)
                interpreter.describe(self._extras)
                extras = interpreter.step(command, self._extras).extras
                state_after = replace(state_after, extras={**(state_before.extras or {}), **extras})
            node = self._make_node(b"", state_after, state_after.extras or {})
            policy = self._tracker.policy_commands(state_before.game_state)
            reward = intermediate_reward(policy, node.policy_commands, won=output.won, lost=output.lost)
            return self.response_in(node, output.text, reward, won=output.won, lost=output.lost), state_after

    def response_in(
        self, node: Node, text: str, reward: int, *, won: bool = False, lost: bool = False
    ) -> EngineResponse:
        """Return the response to a command that leads to `node`."""
        return EngineResponse(
            text=sys.intern(text.strip()),
            score=node.score,
            won=won,
            lost=lost,
            admissible_commands=node.admissible_commands,
            policy_commands=(node.policy_commands or ()) if "policy_commands" in self.infos else None,
            intermediate_reward=reward if "intermediate_reward" in self.infos else None,
            description=node.extras.get("description", "") if "description" in self.infos else None,
            inventory=node.extras.get("inventory", "") if "inventory" in self.infos else None,
        )

    def merge(self, nodes: Mapping[bytes, Node]) -> None:
        """Add the nodes and edges of `nodes` (key -> node) that this graph lacks."""
        with self.lock:
            for key, node in nodes.items():
                if key not in self.nodes:
                    self.nodes[key] = replace(node, state=None, edges={}, stamp=Clock.now)
                    self.bytes += node.size
            for key, node in nodes.items():
                own_node = self.nodes[key]
                for command, edge in node.edges.items():
                    if command not in own_node.edges:
                        target = None if edge.target is None else self.nodes[edge.target.key]
                        own_node.edges[command] = replace(edge, target=target)
                        self.bytes += edge.size

    def acquire(self) -> None:
        with self.lock:
            self.users += 1

    def release(self) -> None:
        """Remove one user. If no user remains, close the interpreter."""
        with self.lock:
            self.users -= 1
            if self.users == 0 and self._interpreter is not None:
                self._interpreter.close()
                self._interpreter = None

    def evict(self, min_stamp: int) -> None:
        """Remove nodes with a stamp below `min_stamp`, but keep the root."""
        with self.lock:
            evicted = {key for key, node in self.nodes.items() if node.stamp < min_stamp and node is not self.root}
            for key in evicted:
                self.nodes.pop(key).edges.clear()
            for node in self.nodes.values():
                node.edges = {c: e for c, e in node.edges.items() if e.target is None or e.target.key not in evicted}
            self._tracker.clear_caches()
            self.bytes = GRAPH_BYTES + sum(n.size + sum(e.size for e in n.edges.values()) for n in self.nodes.values())

    def invalidate(self, reason: str) -> None:
        """Mark this graph as unusable and delete its edges."""
        with self.lock:
            self.invalid_reason = reason
            for node in self.nodes.values():
                node.edges.clear()

    def _restore(self, node: Node) -> Node:
        """Return this graph's copy of `node`. If the copy was evicted, add `node` again."""
        own_node = self.nodes.get(node.key)
        if own_node is None:
            own_node = self.nodes[node.key] = node
            self.bytes += node.size
        return own_node

    def _open_interpreter(self) -> Interpreter:
        if self._interpreter is None:
            self._interpreter = Interpreter(self.story)
        return self._interpreter

    def _make_node(self, key: bytes, state: EngineState, extras: dict[str, str]) -> Node:
        commands = self._tracker.admissible_commands(state.game_state)
        return Node(key, state.score, commands, self._tracker.policy_commands(state.game_state), extras, None)


def _last_edge(response: EngineResponse, turns: int, moves: int) -> Edge | None:
    """Return the edge of a command that ends the game, or None if the response cannot be cached."""
    # the last text may state the number of turns, which differs between episodes; one `in N turns` can be replaced
    text, turn_counts = response.text, list(TURNS.finditer(response.text))
    if not turn_counts and not re.search(rf"\b{moves + 1}\b", text):
        return Edge(response, None, turns)
    if len(turn_counts) != 1 or int(turn_counts[0][1]) != moves + 1:
        return None
    unit = "turns" if turn_counts[0][2] == "turn" else turn_counts[0][2]
    return Edge(response, None, turns, (text[: turn_counts[0].start()], unit, text[turn_counts[0].end() :]))
