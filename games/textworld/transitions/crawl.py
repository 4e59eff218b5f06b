"""Fill the cache of a small game by a breadth-first search."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from games.textworld.generation.manifest import files_hash
from games.textworld.transitions import persistence
from games.textworld.transitions.graph import TransitionGraph

STATES = 5_000  # the default maximum number of states, at which a crawl stops


@dataclass(frozen=True, slots=True, kw_only=True)
class Crawled:
    """The result of a crawl."""

    states: int  # the number of states found in which the game goes on
    answers: int  # the number of stored responses
    complete: bool  # whether all responses in these states are stored


def crawl_file(story: Path, limit: int = STATES, on_state: Callable[[int, int], None] | None = None) -> Crawled:
    """Crawl a game and write the responses to a file beside `story`."""
    graph = TransitionGraph(story, ())
    graph.acquire()
    try:
        crawled = crawl(graph, limit, on_state)
    finally:
        graph.release()
    persistence.write(graph, files_hash(story), persistence.crawled_path(story))
    return crawled


def crawl(graph: TransitionGraph, limit: int = STATES, on_state: Callable[[int, int], None] | None = None) -> Crawled:
    """Play every admissible command in up to `limit` states.

    `on_state` receives (number of states found, number of states finished).
    """
    nodes, keys, answers = [graph.root], {graph.root.key}, 0
    for finished, node in enumerate(islice(nodes, limit), 1):
        for command in node.admissible_commands:
            assert node.state is not None  # only nodes that were loaded from a file have no state
            edge = graph.expand(node, node.state, command)
            if edge is None:  # for example, the parser asks a question
                continue
            answers += 1
            if edge.target is not None and edge.target.key not in keys:
                keys.add(edge.target.key)
                nodes.append(edge.target)
        if on_state is not None:
            on_state(len(nodes), finished)
    complete = len(nodes) <= limit and answers == sum(len(node.admissible_commands) for node in nodes)
    return Crawled(states=len(nodes), answers=answers, complete=complete)
