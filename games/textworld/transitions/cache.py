"""A cache of game responses for all episodes of a process."""

import atexit
import os
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from games.errors import GameError
from games.textworld.engines.stock import StockEngine
from games.textworld.generation.manifest import files_hash
from games.textworld.transitions import persistence
from games.textworld.transitions.engine import CachedEngine
from games.textworld.transitions.graph import GRAPH_BYTES, TransitionGraph
from games.textworld.transitions.nodes import Clock

BUDGET_VARIABLE, AUDIT_VARIABLE, STATES_VARIABLE = "ACTDE_MEMORY", "ACTDE_AUDIT", "ACTDE_STATES"
STATES_CHOICES = ("read", "share", "off")
DEFAULT_MB = 1024
# every `EVICTION_INTERVAL` misses, a cache above its budget is shrunk to `EVICTION_TARGET` times the budget
EVICTION_INTERVAL, EVICTION_TARGET = 256, 0.75


class TransitionCache:
    """Holds one `TransitionGraph` for each combination of game and `infos`."""

    def __init__(self) -> None:
        self._graphs: dict[tuple[str, tuple[str, ...]], TransitionGraph] = {}
        self._lock = threading.Lock()
        self._episodes = 0

    def engine(self, story: Path, infos: Sequence[str] = ()) -> CachedEngine:
        """Return an engine for `story`. Raise GameError if an environment variable is invalid."""
        budget_bytes(), audit_share()  # report an invalid value at the start, not after many turns
        digest = files_hash(story)
        key = (digest, tuple(infos))
        with self._lock:
            graph = self._graphs.get(key)
        if graph is None:
            graph = TransitionGraph(story, infos)
            if states_choice() != "off":
                for path in (persistence.crawled_path(story), persistence.shared_path(digest, graph.infos)):
                    persistence.load(graph, digest, path)
            with self._lock:
                graph = self._graphs.setdefault(key, graph)
        stock = partial(StockEngine, story, infos, fast=True)
        return CachedEngine(graph, stock, is_audited=self._audit_next, on_miss=self._on_miss)

    def save(self) -> None:
        """If ACTDE_STATES is `share`, write all graphs to the cache folder."""
        if not self._graphs or states_choice() != "share":
            return
        for (digest, infos), graph in list(self._graphs.items()):
            persistence.save(graph, digest, persistence.shared_path(digest, infos))

    def _audit_next(self) -> bool:
        """Return whether to compare the next episode with TextWorld's own environment."""
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
        fixed_bytes = GRAPH_BYTES * len(graphs)
        stamps = sorted(((n.stamp, n.size) for g in graphs for n in list(g.nodes.values())), reverse=True)
        # the fraction of the evictable bytes that nodes occupy without their edges, which are evicted with them
        node_share = sum(size for _, size in stamps) / max(1, used - fixed_bytes)
        remaining, stamp = max(0, EVICTION_TARGET * budget - fixed_bytes) * node_share, 0
        for stamp, size in stamps:  # noqa: B007  # the least recently used nodes come last
            remaining -= size
            if remaining < 0:
                break
        for graph in graphs:
            graph.evict(stamp + 1)
        with self._lock:
            for key, graph in list(self._graphs.items()):
                if graph.users == 0 and len(graph.nodes) <= 1:
                    del self._graphs[key]


PROCESS_CACHE = TransitionCache()
atexit.register(PROCESS_CACHE.save)


def budget_bytes() -> int:
    """Return the maximum size of the cache in bytes. Raise GameError if ACTDE_MEMORY is invalid."""
    text = os.environ.get(BUDGET_VARIABLE, "") or str(DEFAULT_MB)
    if not text.isdecimal() or not 1 <= int(text) <= 1_000_000:
        raise GameError(f"{BUDGET_VARIABLE}={text}: expected a whole number of MB from 1 to 1000000")
    return int(text) * 1_000_000


def states_choice() -> str:
    """Return the value of ACTDE_STATES. Raise GameError if the value is invalid."""
    text = os.environ.get(STATES_VARIABLE, "") or STATES_CHOICES[0]
    if text not in STATES_CHOICES:
        raise GameError(f"{STATES_VARIABLE}={text}: expected one of {', '.join(STATES_CHOICES)}")
    return text


def audit_share() -> float:
    """Return the fraction of episodes that are compared with TextWorld. Raise GameError if ACTDE_AUDIT is invalid."""
    text = os.environ.get(AUDIT_VARIABLE, "") or "0"
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise GameError(f"{AUDIT_VARIABLE}={text}: expected a share from 0 to 1")
    return share
