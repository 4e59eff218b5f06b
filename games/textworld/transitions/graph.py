r"""What has been seen of one game, so that nothing is computed twice: a graph of nodes and answered commands.

TextWorld is deterministic and draws no random number, so a command given in a state seen before has the answer it
had before. The question is what "the same state" means, as the interpreter's memory never is the same twice: it
counts turns and keeps scraps of the last command. A node stands for

* the facts of TextWorld's record and how far each quest is (`games/textworld/transitions/game_state.py`);
* the score, and which object lies in which in which order (the interpreter's own object tree): texts list
  things in that order;
* what is on the stack. Only moments at which the interpreter waits for a command as at the start are nodes; a
  question of the parser and the menu at the end are not.

Left out on purpose, and harmless to plain commands: the number of turns (printed by `score`, which is no plain
command, and in the last text of a game, where it is put in), and what pronouns stand for (commands with a
pronoun are no plain commands). That nothing else matters is not proved but tested: `benchmarks/textworld_exact.py`
compares every output with TextWorld's own over long play, and an audit goes on doing so (`engine.py`).
"""

from __future__ import annotations

import hashlib
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from games.errors import GameError
from games.textworld.engines.protocol import EngineResponse, GameInfo, intermediate_reward
from games.textworld.transitions.game_state import GameState, Tracker
from games.textworld.transitions.interpreter import Interpreter, Output, Snapshot

if TYPE_CHECKING:
    from textworld.generator import Game

TURNS = re.compile(r"\bin (\d+) turns?\b")
NOT_PLAIN = frozenset(("it", "them", "him", "her", "this", "that", "these", "those", "one", "ones", "score"))
"""Words whose meaning depends on more than the node."""
GRAPH_BYTES, NODE_BYTES, EDGE_BYTES = 1_100_000, 900, 400
"""About what a game, a node and an edge take, the last two without their texts."""


def is_plain(command: str) -> bool:
    """Does the answer to this command depend on the node alone? Admissible commands are plain."""
    return NOT_PLAIN.isdisjoint(command.split())


@dataclass(frozen=True, slots=True)
class EngineState:
    """An exact moment of a game: of the interpreter and of the record."""

    moment: Snapshot
    standing: GameState
    score: int
    moves: int
    extras: dict[str, str] | None
    """`description` and `inventory`, where asked for; None where a turn has passed and nobody has looked since."""


@dataclass(eq=False, slots=True)
class Node:
    """A state of the game."""

    key: bytes
    score: int
    admissible_commands: tuple[str, ...]
    policy_commands: tuple[str, ...] | None
    extras: dict[str, str]
    place: EngineState | None
    """A moment that this node stands for; None where the node was read from a file."""
    edges: dict[str, Edge] = field(default_factory=dict)
    stamp: int = 0
    """When it was last met (`Clock`)."""

    @property
    def size(self) -> int:
        """Bytes, about."""
        texts = sum(map(len, self.extras.values()))
        place = 0 if self.place is None else self.place.moment.size
        return NODE_BYTES + texts + place + 8 * len(self.admissible_commands)


@dataclass(eq=False, slots=True)
class Edge:
    """One command answered in one node."""

    answer: EngineResponse
    node: Node | None
    """Where it leads; None where the game ends."""
    turns: int
    """How many turns it takes: 0 or 1."""
    counted: tuple[str, str] | None = None
    """At an end that prints the number of turns: the text before and after it."""

    def at(self, moves: int) -> EngineResponse:
        """The answer to an episode that has made `moves` moves, this one included."""
        if self.counted is None:
            return self.answer
        count = moves + 1
        text = f"{self.counted[0]}in {count} turn{'' if count == 1 else 's'}{self.counted[1]}"
        return replace(self.answer, text=text)

    @property
    def size(self) -> int:
        """Bytes, about."""
        return EDGE_BYTES + len(self.answer.text)


class Clock:
    """Counts what is looked up in vain, over all games: by it the least recently met nodes are known."""

    now = 0


class Transitions:
    """The graph of one game, asked for `infos`, and the interpreter that adds to it. Safe for several threads."""

    def __init__(self, story: Path, infos: Sequence[str]) -> None:
        self.story, self.infos = story, tuple(infos)
        self._extras = tuple(name for name in ("inventory", "description") if name in infos)
        self.looks = bool(self._extras)
        """Does TextWorld look around after every turn? What is looked at is then what pronouns stand for; we look
        once only, so with these infos commands with pronouns are TextWorld's to answer."""
        policies = not {"policy_commands", "intermediate_reward"}.isdisjoint(infos)
        self.lock = threading.RLock()
        self.nodes: dict[bytes, Node] = {}
        self.bytes = GRAPH_BYTES
        self.broken: str | None = None
        """Why nothing here may be used any more; None as it should be."""
        self.users = 0
        """Engines that play here now."""
        self._machine: Interpreter | None = None
        try:
            game = _record(story)
            self._tracker = Tracker(game, policies=policies)
            machine = self._open()
        except (KeyError, TypeError, AttributeError, IndexError, AssertionError) as error:
            raise GameError(f"{story}: TextWorld cannot read this game ({type(error).__name__})") from error
        self.facts = GameInfo(
            max_score=int(game.max_score),
            objective=game.objective,
            walkthrough=tuple(game.metadata.get("walkthrough") or ()),
            command_templates=tuple(game.command_templates),
            verbs=tuple(game.verbs),
            entities=tuple(game.entity_names),
            typed_entities=tuple(map(tuple, game.objects_names_and_types)),
        )
        self.start = EngineState(machine.start, self._tracker.start, machine.score, machine.moves, None)
        root = self.settle(self.start)
        assert root is not None and root.place is not None
        self.root, self.start = root, root.place
        self.opening = self.answer_in(root, machine.opening, 0)

    def explore(self, node: Node, place: EngineState, command: str) -> Edge | None:
        """The answer to a plain command in `node`, now remembered; None where it leads to no node.

        `place` is a moment that `node` stands for.
        """
        with self.lock:
            node = self._kept(node)
            if command in node.edges:
                return node.edges[command]
            output, after = self.play(place, command)
            edge = self._edge(node, place, command, output, after)
            if edge is not None and self.broken is None:
                node.edges[command] = edge
                self.bytes += edge.size
            return edge

    def play(self, place: EngineState, command: str) -> tuple[Output, EngineState]:
        """Play a command at an exact moment: what was printed, and the moment after it."""
        with self.lock:
            machine = self._open()
            machine.load(place.moment)
            output = machine.step(command)
            standing = self._tracker.after(place.standing, output.events)
            if output.moves is None or output.score is None:  # it took no turn
                return output, EngineState(machine.save(), standing, place.score, place.moves, place.extras)
            extras: dict[str, str] | None = None if self._extras else {}
            return output, EngineState(machine.save(), standing, output.score, output.moves, extras)

    def settle(self, place: EngineState) -> Node | None:
        """The node of a moment, new or known; None where the interpreter waits for no command."""
        with self.lock:
            machine = self._open()
            if not machine.at_prompt(place.moment):
                return None
            key = self.key(place)
            node = self.nodes.get(key)
            if node is None:
                extras = place.extras
                if extras is None:
                    machine.load(place.moment)
                    extras = machine.describe(self._extras)
                node = Node(key, place.score, self._tracker.admissible(place.standing),
                            self._tracker.policy(place.standing), extras, None)  # fmt: skip
                self.nodes[key] = node
                self.bytes += node.size
            self.stand(node, place)
            node.stamp = Clock.now
            return node

    def stand(self, node: Node, place: EngineState) -> None:
        """Let `node` stand for the moment `place`, where it stands for none."""
        with self.lock:
            node = self._kept(node)
            if node.place is None:
                node.place = replace(place, extras=node.extras)
                self.bytes += place.moment.size

    def key(self, place: EngineState) -> bytes:
        """What tells the state at a moment from every other state of the game (see the module's docstring)."""
        machine = self._open()
        parts = (place.standing.key, machine.holders(place.moment), machine.stack(place.moment))
        return hashlib.blake2b(b"%d " % place.score + b" ".join(parts), digest_size=16).digest()

    def answer_at(
        self, before: EngineState, command: str, output: Output, after: EngineState
    ) -> tuple[EngineResponse, EngineState]:
        """The answer to a command that was played outside the graph, and the moment after it with its extras."""
        if after.extras is None:
            after = replace(after, extras=self._printed(before, command))
        policy = self._tracker.policy(after.standing)
        progress = intermediate_reward(self._tracker.policy(before.standing), policy, won=output.won, lost=output.lost)
        admissible = self._tracker.admissible(after.standing)
        return self._answer(output, after.score, admissible, policy, after.extras or {}, progress), after

    def answer_in(self, node: Node, text: str, progress: int) -> EngineResponse:
        """The answer with this text, and this intermediate reward, that leads to `node`."""
        output = Output(text, (), None, None, {})
        return self._answer(output, node.score, node.admissible_commands, node.policy_commands, node.extras, progress)

    def adopt(self, nodes: Mapping[bytes, Node]) -> None:
        """Take over nodes from elsewhere, and their edges where nothing is known."""
        with self.lock:
            for key, node in nodes.items():
                if key not in self.nodes:
                    self.nodes[key] = Node(node.key, node.score, node.admissible_commands, node.policy_commands,
                                           node.extras, None, stamp=Clock.now)  # fmt: skip
                    self.bytes += node.size
            for key, node in nodes.items():
                mine = self.nodes[key]
                for command, edge in node.edges.items():
                    if command not in mine.edges:
                        target = None if edge.node is None else self.nodes[edge.node.key]
                        mine.edges[command] = replace(edge, node=target)
                        self.bytes += edge.size

    def acquire(self) -> None:
        """One engine more plays here."""
        with self.lock:
            self.users += 1

    def release(self) -> None:
        """One engine less; when none is left the interpreter is freed. It comes back when it is needed."""
        with self.lock:
            self.users -= 1
            if self.users == 0 and self._machine is not None:
                self._machine.close()
                self._machine = None

    def forget(self, stamp: int) -> None:
        """Drop the nodes last met before `stamp`, and the edges that lead to them."""
        with self.lock:
            gone = {key for key, node in self.nodes.items() if node.stamp < stamp and node is not self.root}
            for key in gone:
                self.nodes.pop(key).edges.clear()
            for node in self.nodes.values():
                node.edges = {c: e for c, e in node.edges.items() if e.node is None or e.node.key not in gone}
            self._tracker.forget()
            self.bytes = GRAPH_BYTES + sum(n.size + sum(e.size for e in n.edges.values()) for n in self.nodes.values())

    def give_up(self, why: str) -> None:
        """Never use what is remembered again: it was wrong."""
        with self.lock:
            self.broken = why
            for node in self.nodes.values():
                node.edges.clear()

    def _kept(self, node: Node) -> Node:
        """The node of this state as it is in the graph; one that was forgotten while an episode stood on it is back."""
        kept = self.nodes.get(node.key)
        if kept is None:
            kept = self.nodes[node.key] = node
            self.bytes += node.size
        return kept

    def _open(self) -> Interpreter:
        if self._machine is None:
            self._machine = Interpreter(self.story)
        return self._machine

    def _edge(self, node: Node, place: EngineState, command: str, output: Output, after: EngineState) -> Edge | None:
        turns = after.moves - place.moves
        if output.ended:
            answer, _ = self.answer_at(place, command, output, after)
            return _ending(answer, turns, after.moves)
        target = self.settle(after)
        if target is None:
            return None
        progress = intermediate_reward(node.policy_commands, target.policy_commands, won=output.won, lost=output.lost)
        return Edge(self.answer_in(target, output.text, progress), target, turns)

    def _printed(self, before: EngineState, command: str) -> dict[str, str]:
        """Description and inventory as a command prints them in its turn, where nobody can look after it."""
        machine = self._open()
        machine.load(before.moment)
        machine.describe(self._extras)
        return {**(before.extras or {}), **machine.step(command, self._extras).extras}

    def _answer(
        self,
        output: Output,
        score: int,
        admissible: tuple[str, ...],
        policy: tuple[str, ...] | None,
        extras: Mapping[str, str],
        progress: int,
    ) -> EngineResponse:
        return EngineResponse(
            text=sys.intern(output.text.strip()),
            score=score,
            won=output.won,
            lost=output.lost,
            admissible_commands=admissible,
            policy_commands=(policy or ()) if "policy_commands" in self.infos else None,
            intermediate_reward=progress if "intermediate_reward" in self.infos else None,
            description=extras.get("description", "") if "description" in self.infos else None,
            inventory=extras.get("inventory", "") if "inventory" in self.infos else None,
        )


def _ending(answer: EngineResponse, turns: int, moves: int) -> Edge | None:
    """The edge of a command that ends the game; None where its text counts turns in an unknown way."""
    found = list(TURNS.finditer(answer.text))
    if not found:
        return Edge(answer, None, turns)
    last = found[-1]
    if len(found) > 1 or int(last[1]) != moves + 1:
        return None
    return Edge(answer, None, turns, (answer.text[: last.start()], answer.text[last.end() :]))


def _record(story: Path) -> Game:
    """TextWorld's record beside a story."""
    from textworld.generator import Game

    from games.textworld.upstream.start import rules_parsed_once

    with rules_parsed_once():
        return Game.load(str(story.with_suffix(".json")))
