"""What this process remembers of all games: one graph per game and infos, within a budget. Opens engines.

Settings come from the environment, so that child processes have them too:

    ACTDE_MEMORY   the budget in MB (default 1024); what was not met for longest is forgotten first
    ACTDE_AUDIT    the share of episodes that TextWorld's own environment plays along in (default 0)
    ACTDE_STATES   `read` (default): what `generate --crawl` left beside a game, or another process in the cache, is
                   taken over when the game is opened; `share`: what is learnt is also written to the cache when the
                   process ends, for others; `off`: neither
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from games.errors import GameError
from games.textworld.engines.protocol import Engine
from games.textworld.engines.stock import StockEngine
from games.textworld.generation.manifest import files_hash
from games.textworld.transitions import persistence
from games.textworld.transitions.engine import CachedEngine
from games.textworld.transitions.graph import GRAPH_BYTES, Clock, Transitions

BUDGET, AUDIT, STATES = "ACTDE_MEMORY", "ACTDE_AUDIT", "ACTDE_STATES"
CHOICES = ("read", "share", "off")
DEFAULT_MB = 1024
LOOKS, KEPT = 256, 0.75
"""The budget is looked at every so many new commands; what is over it is forgotten down to this share of it."""


class TransitionCache:
    """The graphs of a process."""

    def __init__(self) -> None:
        self._graphs: dict[tuple[str, tuple[str, ...]], Transitions] = {}
        self._lock = threading.Lock()
        self._episodes = 0

    def engine(self, story: Path, infos: Sequence[str] = ()) -> CachedEngine:
        """An engine for `story`; shares what it remembers with all others of the same files and infos."""
        digest = files_hash(story)
        key = (digest, tuple(infos))
        with self._lock:
            graph = self._graphs.get(key)
        if graph is None:
            graph = Transitions(story, infos)
            if states_choice() != "off":
                persistence.load(graph, digest, persistence.beside(story))
                persistence.load(graph, digest, persistence.in_cache(digest, graph.infos))
            with self._lock:
                graph = self._graphs.setdefault(key, graph)
        return CachedEngine(graph, lambda: StockEngine(story, infos), audited=self._audited, grown=self._grown)

    def graph(self, story: Path, infos: Sequence[str] = ()) -> Transitions | None:
        """What is remembered of a game; None where it was never opened."""
        return self._graphs.get((files_hash(story), tuple(infos)))

    def save(self) -> None:
        """Write what was learnt to the cache, where ACTDE_STATES says so."""
        if states_choice() != "share":
            return
        for (digest, infos), graph in list(self._graphs.items()):
            persistence.save(graph, digest, persistence.in_cache(digest, infos))

    def clear(self) -> None:
        """Forget everything; engines that are open keep theirs."""
        with self._lock:
            self._graphs.clear()

    def _audited(self) -> bool:
        """Is the next episode audited? Every 1/share-th is, counted over all games, the first of them early."""
        share = audit_share()
        with self._lock:
            self._episodes += 1
            count = self._episodes
        return int(count * share + 0.5) > int((count - 1) * share + 0.5)

    def _grown(self) -> None:
        Clock.now += 1
        if Clock.now % LOOKS:
            return
        with self._lock:
            graphs = list(self._graphs.values())
        budget = budget_bytes()
        if sum(graph.bytes for graph in graphs) <= budget:
            return
        fixed = GRAPH_BYTES * len(graphs)
        stamps = sorted(((n.stamp, n.size) for g in graphs for n in list(g.nodes.values())), reverse=True)
        of_nodes = sum(size for _, size in stamps) / max(1, sum(graph.bytes for graph in graphs) - fixed)
        left, stamp = max(0, KEPT * budget - fixed) * of_nodes, 0
        for stamp, size in stamps:  # noqa: B007
            left -= size
            if left < 0:
                break
        for graph in graphs:
            graph.forget(stamp + 1)
        self._drop_empty()

    def _drop_empty(self) -> None:
        """Forget the games that nobody plays and of which nothing but the start is left."""
        with self._lock:
            for key, graph in list(self._graphs.items()):
                if graph.users == 0 and len(graph.nodes) <= 1:
                    del self._graphs[key]


MEMORY = TransitionCache()
"""This process's memory."""
atexit.register(MEMORY.save)


def engine(story: Path, infos: Sequence[str] = ()) -> Engine:
    """An engine over this process's memory."""
    return MEMORY.engine(story, infos)


def budget_bytes() -> int:
    """The budget; GameError where ACTDE_MEMORY is no number of MB."""
    text = os.environ.get(BUDGET, "") or str(DEFAULT_MB)
    if not text.isdecimal() or not 1 <= int(text) <= 1_000_000:
        raise GameError(f"{BUDGET}={text}: expected a whole number of MB from 1 to 1000000")
    return int(text) * 1_000_000


def states_choice() -> str:
    """What to do with files of states; GameError where ACTDE_STATES is none of the choices."""
    text = os.environ.get(STATES, "") or CHOICES[0]
    if text not in CHOICES:
        raise GameError(f"{STATES}={text}: expected one of {', '.join(CHOICES)}")
    return text


def audit_share() -> float:
    """The share of episodes to audit; GameError where ACTDE_AUDIT is no number from 0 to 1."""
    text = os.environ.get(AUDIT, "") or "0"
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise GameError(f"{AUDIT}={text}: expected a share from 0 to 1")
    return share
