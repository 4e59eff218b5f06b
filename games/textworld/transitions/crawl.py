"""Fill the transition graph of a small game ahead of time, by a breadth-first search over all admissible commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from games.textworld.generation.manifest import files_hash
from games.textworld.transitions import persistence
from games.textworld.transitions.graph import TransitionGraph

STATES = 5_000
"""The default maximum number of states. The crawl of a game with more states stops early."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crawled:
    """The result of a crawl.

    `states` is the number of states that were found, without those in which the game is over. `answers` is the number
    of responses that were stored. `complete` is true if all responses to admissible commands are stored.
    """

    states: int
    answers: int
    complete: bool


def crawl_file(story: Path, limit: int = STATES, on_state: Callable[[int, int], None] | None = None) -> Crawled:
    """Crawl a game and write its transitions to a file beside the game. Any process that opens the game loads the file.

    `limit` and `on_state` are passed to `crawl`.
    """
    graph = TransitionGraph(story, ())
    graph.acquire()
    try:
        crawled = crawl(graph, limit, on_state)
    finally:
        graph.release()
    persistence.write(graph, files_hash(story), persistence.beside(story))
    return crawled


def crawl(graph: TransitionGraph, limit: int = STATES, on_state: Callable[[int, int], None] | None = None) -> Crawled:
    """Play every admissible command in every reachable state. Stop after `limit` states.

    After the last command of each state, `on_state(found, finished)` is called. `found` is the number of states that
    are known so far, and `finished` the number of states whose commands have all been played.

    `graph` must not contain nodes that were loaded from a file. A command is skipped if the graph cannot store the
    response, for example because the parser replies with a question. The crawl is then incomplete.
    """
    found, complete, answers = [graph.root], True, 0
    keys = {graph.root.key}
    for number, node in enumerate(islice(found, limit), 1):
        for command in node.admissible_commands:
            assert node.state is not None  # only nodes that were loaded from a file have no state
            edge = graph.expand(node, node.state, command)
            if edge is None:
                complete = False
                continue
            answers += 1
            if edge.node is not None and edge.node.key not in keys:
                keys.add(edge.node.key)
                found.append(edge.node)
        if on_state is not None:
            on_state(len(found), number)
    return Crawled(states=len(found), answers=answers, complete=complete and len(found) <= limit)
