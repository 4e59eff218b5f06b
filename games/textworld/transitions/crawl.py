"""Find all states of a small game ahead of time: all admissible commands in all nodes, breadth first."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path

from games.textworld.generation.manifest import files_hash
from games.textworld.transitions import persistence
from games.textworld.transitions.graph import TransitionGraph

STATES = 5_000
"""The number of states from which a game counts as too large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crawled:
    """The result of a crawl."""

    states: int
    """Different states in which the game goes on."""
    answers: int
    """Commands answered."""
    complete: bool
    """Whether every admissible command is answered in every state."""


def crawl_file(story: Path, limit: int = STATES) -> Crawled:
    """Crawl a game and write its transitions beside it, where every process reads them."""
    graph = TransitionGraph(story, ())
    graph.acquire()
    try:
        crawled = crawl(graph, limit)
    finally:
        graph.release()
    persistence.write(graph, files_hash(story), persistence.beside(story))
    return crawled


def crawl(graph: TransitionGraph, limit: int = STATES) -> Crawled:
    """Play every admissible command in every state that can be reached, in at most `limit` states.

    `graph` must be new, with nothing read from a file. A command that leads to a question of the parser is skipped,
    and the crawl is then not complete.
    """
    seen, queue, complete = {graph.root.key}, deque([graph.root]), True
    answers = expanded = 0
    while queue:
        node = queue.popleft()
        expanded += 1
        if expanded > limit:
            return Crawled(states=len(seen), answers=answers, complete=False)
        for command in node.admissible_commands:
            assert node.state is not None  # as in every graph that was not read from a file
            edge = graph.expand(node, node.state, command)
            if edge is None:
                complete = False
                continue
            answers += 1
            if edge.node is not None and edge.node.key not in seen:
                seen.add(edge.node.key)
                queue.append(edge.node)
    return Crawled(states=len(seen), answers=answers, complete=complete)
