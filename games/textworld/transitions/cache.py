"""The transition cache of a process: one graph for each game and set of infos, within a budget of memory.

Options are environment variables, so that child processes have them too:

    ACTDE_MEMORY   the budget in MB (default 1024); least recently used entries are evicted first
    ACTDE_AUDIT    the fraction of episodes that are replayed in TextWorld's own environment (default 0)
    ACTDE_STATES   `read` (default): opening a game reads the transitions that `generate --crawl` stored beside it, or
                   another process in the cache folder; `share`: also writes new transitions to the cache folder when
                   the process ends; `off`: neither
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from games.errors import GameError
from games.textworld.engines.protocol import Engine
from games.textworld.engines.stock import StockEngine
from games.textworld.generation.manifest import files_hash
from games.textworld.transitions import persistence
from games.textworld.transitions.engine import CachedEngine
from games.textworld.transitions.graph import GRAPH_BYTES, TransitionGraph
from games.textworld.transitions.nodes import Clock

BUDGET, AUDIT, STATES = "ACTDE_MEMORY", "ACTDE_AUDIT", "ACTDE_STATES"
CHOICES = ("read", "share", "off")
DEFAULT_MB = 1024
EVICTION_INTERVAL, EVICTION_TARGET = 256, 0.75
"""Eviction runs every so many cache misses and shrinks the cache to this fraction of its budget."""


class TransitionCache:
    """The graphs of a process."""

    def __init__(self) -> None:
        self._graphs: dict[tuple[str, tuple[str, ...]], TransitionGraph] = {}
        self._lock = threading.Lock()
        self._episodes = 0

    def engine(self, story: Path, infos: Sequence[str] = ()) -> CachedEngine:
        """Return an engine for `story`; all engines of the same files and infos share a graph."""
        digest = files_hash(story)
        key = (digest, tuple(infos))
        with self._lock:
            graph = self._graphs.get(key)
        if graph is None:
            graph = TransitionGraph(story, infos)
            if states_choice() != "off":
                persistence.load(graph, digest, persistence.beside(story))
                persistence.load(graph, digest, persistence.in_cache(digest, graph.infos))
            with self._lock:
                graph = self._graphs.setdefault(key, graph)
        stock = partial(StockEngine, story, infos, fast=True)
        return CachedEngine(graph, stock, is_audited=self._is_audited, on_miss=self._on_miss)

    def save(self) -> None:
        """Write all graphs to the cache folder if ACTDE_STATES is `share`."""
        if states_choice() != "share":
            return
        for (digest, infos), graph in list(self._graphs.items()):
            persistence.save(graph, digest, persistence.in_cache(digest, infos))

    def _is_audited(self) -> bool:
        """Return whether the next episode is audited: every 1/share-th over all games, the first of them early."""
        share = audit_share()
        with self._lock:
            self._episodes += 1
            count = self._episodes
        return int(count * share + 0.5) > int((count - 1) * share + 0.5)

    def _on_miss(self) -> None:
        Clock.now += 1
        if Clock.now % EVICTION_INTERVAL:
            return
        with self._lock:
            graphs = list(self._graphs.values())
        budget, used = budget_bytes(), sum(graph.bytes for graph in graphs)
        if used > budget:
            self._evict(graphs, budget, used)

    def _evict(self, graphs: Sequence[TransitionGraph], budget: int, used: int) -> None:
        """Evict the least recently used nodes, and then the graphs that are unused and hold their root only."""
        fixed = GRAPH_BYTES * len(graphs)
        stamps = sorted(((n.stamp, n.size) for g in graphs for n in list(g.nodes.values())), reverse=True)
        # edges are evicted with their nodes: this is the share of the nodes in all that can be evicted
        node_share = sum(size for _, size in stamps) / max(1, used - fixed)
        left, stamp = max(0, EVICTION_TARGET * budget - fixed) * node_share, 0
        for stamp, size in stamps:  # noqa: B007
            left -= size
            if left < 0:
                break
        for graph in graphs:
            graph.evict(stamp + 1)
        with self._lock:
            for key, graph in list(self._graphs.items()):
                if graph.users == 0 and len(graph.nodes) <= 1:
                    del self._graphs[key]


PROCESS_CACHE = TransitionCache()
atexit.register(PROCESS_CACHE.save)


def engine(story: Path, infos: Sequence[str] = ()) -> Engine:
    """Return an engine over the cache of this process."""
    return PROCESS_CACHE.engine(story, infos)


def budget_bytes() -> int:
    """Return the budget; raises GameError where ACTDE_MEMORY is no number of MB."""
    text = os.environ.get(BUDGET, "") or str(DEFAULT_MB)
    if not text.isdecimal() or not 1 <= int(text) <= 1_000_000:
        raise GameError(f"{BUDGET}={text}: expected a whole number of MB from 1 to 1000000")
    return int(text) * 1_000_000


def states_choice() -> str:
    """Return the value of ACTDE_STATES; raises GameError where it is none of the choices."""
    text = os.environ.get(STATES, "") or CHOICES[0]
    if text not in CHOICES:
        raise GameError(f"{STATES}={text}: expected one of {', '.join(CHOICES)}")
    return text


def audit_share() -> float:
    """Return the fraction of episodes to audit; raises GameError where ACTDE_AUDIT is no number from 0 to 1."""
    text = os.environ.get(AUDIT, "") or "0"
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise GameError(f"{AUDIT}={text}: expected a share from 0 to 1")
    return share
