"""Every state of a small game, found ahead of time: all admissible commands in all nodes, breadth first."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path

from games.textworld.generation.manifest import files_hash
from games.textworld.transitions import persistence
from games.textworld.transitions.graph import Transitions

STATES = 5_000
"""How many states to look at before a game counts as too large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crawled:
    """What a crawl has found."""

    states: int
    """Different states in which the game goes on."""
    answers: int
    """Commands answered."""
    complete: bool
    """Is every admissible command answered in every state?"""


def crawl_file(story: Path, limit: int = STATES) -> Crawled:
    """Crawl a game and leave what was found beside it, where every process takes it over."""
    graph = Transitions(story, ())
    graph.acquire()
    try:
        found = crawl(graph, limit)
    finally:
        graph.release()
    persistence.write(graph, files_hash(story), persistence.beside(story))
    return found


def crawl(graph: Transitions, limit: int = STATES) -> Crawled:
    """Answer every admissible command in every state that they lead to, in at most `limit` states.

    `graph` is a new one, that nothing was read into. A command that leads to a question of the parser is left out,
    and the crawl is then not complete.
    """
    seen, ahead, complete = {graph.root.key}, deque([graph.root]), True
    answers = looked = 0
    while ahead:
        node = ahead.popleft()
        looked += 1
        if looked > limit:
            return Crawled(states=len(seen), answers=answers, complete=False)
        for command in node.admissible_commands:
            assert node.place is not None  # as in every graph that was not read from a file
            edge = graph.explore(node, node.place, command)
            if edge is None:
                complete = False
                continue
            answers += 1
            if edge.node is not None and edge.node.key not in seen:
                seen.add(edge.node.key)
                ahead.append(edge.node)
    return Crawled(states=len(seen), answers=answers, complete=complete)
