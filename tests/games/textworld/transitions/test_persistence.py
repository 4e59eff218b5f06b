"""Files of transitions give the same responses in another process, and a wrong file is ignored."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from games import GameError
from games.textworld.engines.protocol import INFOS, EngineResponse
from games.textworld.engines.stock import StockEngine
from games.textworld.generation.make_game import cached_game
from games.textworld.generation.manifest import files_hash
from games.textworld.transitions import cache as cache_module
from games.textworld.transitions import persistence
from games.textworld.transitions.cache import TransitionCache
from games.textworld.transitions.crawl import crawl
from games.textworld.transitions.engine import CachedEngine
from games.textworld.transitions.graph import TransitionGraph

ALL = tuple(INFOS)


@pytest.fixture(scope="module")
def story() -> Path:
    return cached_game("coin", {"level": 3, "seed": 1})


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ACTDE_CACHE", str(tmp_path))
    return tmp_path / "states"


def walk(engine: CachedEngine | StockEngine) -> list[EngineResponse]:
    return [engine.reset(), *(engine.step(command) for command in ("look", *engine.game_info.walkthrough))]


@pytest.mark.parametrize("infos", [(), ALL])
def test_another_process_reads_what_one_has_stored(
    infos: tuple[str, ...], story: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = TransitionCache(), TransitionCache()
    answers = walk(first.engine(story, infos))
    first.save()
    assert not cache.exists()  # written only with ACTDE_STATES=share
    monkeypatch.setenv(cache_module.STATES_VARIABLE, "share")
    first.save()
    engine = second.engine(story, infos)
    assert walk(engine) == answers == walk(StockEngine(story, infos))
    assert engine.counts["misses"] == 0


def test_an_unknown_command_in_a_stored_state_replays_the_episode(story: Path, cache: Path) -> None:
    graph, digest = TransitionGraph(story, ()), files_hash(story)
    walk(CachedEngine(graph, lambda: StockEngine(story)))
    path = persistence.shared_path(digest, ())
    persistence.save(graph, digest, path)
    engine, own = TransitionCache().engine(story), StockEngine(story)
    way = ("look", engine.game_info.walkthrough[0], "inventory", "examine zzz", *engine.game_info.walkthrough[1:])
    assert engine.reset() == own.reset()
    assert [engine.step(command) for command in way] == [own.step(command) for command in way]
    assert engine.counts["replayed"] == 2


def test_the_transitions_of_several_processes_are_merged(story: Path, cache: Path) -> None:
    digest = files_hash(story)
    path = persistence.shared_path(digest, ())
    graphs = [TransitionGraph(story, ()) for _ in range(3)]
    for graph, command in zip(graphs, ("look", "inventory", "examine zzz"), strict=True):
        engine = CachedEngine(graph, lambda: StockEngine(story))
        engine.reset()
        engine.step(command)
    threads = [threading.Thread(target=persistence.save, args=(graph, digest, path)) for graph in graphs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fresh = TransitionGraph(story, ())
    assert persistence.load(fresh, digest, path)
    assert set(fresh.root.edges) == {"look", "inventory", "examine zzz"}


def rewritten(change: Callable[[Any, Any], object]) -> Callable[[bytes], bytes]:
    """Return a function that changes the content of a file and updates the file's hash."""

    def damage(data: bytes) -> bytes:
        import hashlib

        head, _, rest = gzip.decompress(data).partition(b"\n")
        top, body = json.loads(head), json.loads(rest)
        change(top, body)
        rest = json.dumps(body).encode()
        if "sha256" in top:
            top["sha256"] = hashlib.sha256(rest).hexdigest()
        return gzip.compress(json.dumps(top).encode() + b"\n" + rest)

    return damage


def renamed(body: Any, before: str, after: str) -> None:
    body["texts"][body["texts"].index(before)] = after


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "a flipped bit": lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:],
    "garbage": lambda data: b"states" * 100,
    "another game": rewritten(lambda top, body: top.update(game="0" * 64)),
    "other infos": rewritten(lambda top, body: top.update(infos=["inventory"])),
    "another TextWorld": rewritten(lambda top, body: top.update(versions=["0", "0"])),
    "another format": rewritten(lambda top, body: top.update(format=99)),
    "no hash": rewritten(lambda top, body: top.pop("sha256")),
    "no nodes": rewritten(lambda top, body: body.update(nodes=[])),
    "nodes of another kind": rewritten(lambda top, body: body.update(nodes={"a": 1})),
    "texts of another kind": rewritten(lambda top, body: body.update(texts=[1, 2])),
    "an edge to nowhere": rewritten(lambda top, body: body["nodes"][0][5].append([0, 0, -1, 0, None])),
    "an edge of another kind": rewritten(lambda top, body: body["nodes"][0][5].append([0, "x"])),
    "a command that the filter stops": rewritten(lambda top, body: renamed(body, "look", "save")),
    "two commands in one": rewritten(lambda top, body: renamed(body, "look", "look then save")),
    "a list instead of an object": lambda data: gzip.compress(b"[]\n[]"),
    "deep nesting": lambda data: gzip.compress(b"{}\n" + b"[" * 100_000),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_wrong_file_is_ignored_and_written_again(name: str, story: Path, tmp_path: Path) -> None:
    graph, digest = TransitionGraph(story, ()), files_hash(story)
    walk(CachedEngine(graph, lambda: StockEngine(story)))
    path = tmp_path / "a.states"
    persistence.save(graph, digest, path)
    good = path.read_bytes()
    path.write_bytes(DAMAGES[name](good))
    fresh = TransitionGraph(story, ())
    assert not persistence.load(fresh, digest, path)
    assert list(fresh.nodes) == [fresh.root.key]
    assert not fresh.root.edges
    persistence.save(graph, digest, path)
    assert persistence.load(fresh, digest, path)


def test_a_missing_file_adds_nothing(story: Path, tmp_path: Path) -> None:
    assert not persistence.load(TransitionGraph(story, ()), "0", tmp_path / "none.states")


def test_a_crawled_game_needs_no_interpreter(story: Path) -> None:
    graph = TransitionGraph(story, ())
    crawled = crawl(graph)
    assert crawled.complete
    assert crawled.states == len(graph.nodes)
    assert crawled.answers == sum(len(node.admissible_commands) for node in graph.nodes.values())
    engine = CachedEngine(graph, lambda: StockEngine(story))
    assert walk(engine) == walk(StockEngine(story))
    assert engine.counts["misses"] == 0


def test_a_crawl_stops_at_its_limit_and_reports_its_states(story: Path) -> None:
    reported: list[int] = []
    crawled = crawl(TransitionGraph(story, ()), limit=2, on_state=lambda states, _: reported.append(states))
    assert len(reported) == 2 and 1 <= reported[0] <= reported[1] == crawled.states
    assert not crawled.complete
    assert crawled.states > 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (cache_module.STATES_VARIABLE, "ACTDE_STATES=maybe: expected one of read, share, off"),
        (cache_module.BUDGET_VARIABLE, "ACTDE_MEMORY=maybe: expected a whole number of MB from 1 to 1000000"),
        (cache_module.AUDIT_VARIABLE, "ACTDE_AUDIT=maybe: expected a share from 0 to 1"),
    ],
)
def test_a_wrong_choice_is_one_line(story: Path, name: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "maybe")
    with pytest.raises(GameError, match=message):
        TransitionCache().engine(story)
