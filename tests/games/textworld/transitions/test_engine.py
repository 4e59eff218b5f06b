"""The cached engine gives TextWorld's own responses, and an audit detects where it does not."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from benchmarks import textworld_exact
from games import GameError
from games.textworld.engines.protocol import INFOS, EngineResponse
from games.textworld.engines.stock import StockEngine
from games.textworld.generation.make_game import cached_game
from games.textworld.transitions import cache as cache_module
from games.textworld.transitions.cache import TransitionCache
from games.textworld.transitions.engine import CachedEngine
from games.textworld.transitions.graph import GRAPH_BYTES, TransitionGraph, is_context_independent
from games.textworld.upstream.compile import compile_story
from games.textworld.upstream.start import load_record

ALL = tuple(INFOS)


@cache
def story(family: str = "simple", level: int = 1, seed: int = 7) -> Path:
    return cached_game(family, {"level": level, "seed": seed})


def opened(infos: tuple[str, ...] = (), path: Path | None = None) -> CachedEngine:
    return TransitionCache().engine(path or story(), infos)


def walk(engine: CachedEngine | StockEngine) -> list[EngineResponse]:
    return [engine.reset(), *(engine.step(command) for command in engine.game_info.walkthrough)]


@pytest.mark.parametrize("part", [("simple", 4), ("coin", 5), ("treasure", 12), ("cooking", 6), ("quest", 5)])
def test_long_play_equals_textworlds(part: tuple[str, int]) -> None:
    game = next(game for game in textworld_exact.GAMES if f":{part[0]}?" in game)
    result = textworld_exact.play((game, part[1] % 3, 60, part[1]))
    assert result["difference"] == ""
    assert result["steps"] == 60
    assert result["hits"] and result["misses"]


@pytest.mark.parametrize("infos", [(), ("policy_commands",), ALL])
def test_the_second_walk_needs_no_interpreter_and_is_equal(infos: tuple[str, ...]) -> None:
    engine, own = opened(infos), StockEngine(story(), infos)
    first = walk(engine)
    misses = engine.counts["misses"]
    assert walk(engine) == first == walk(own)
    assert engine.counts["misses"] == misses == len(engine.game_info.walkthrough)
    assert first[-1].won


def test_the_last_text_holds_the_number_of_turns_of_its_episode() -> None:
    engine, own = opened(), StockEngine(story())
    walk(engine)
    for player in (engine, own):
        player.reset()
        player.step("look")
    texts = [[player.step(command).text for command in engine.game_info.walkthrough] for player in (engine, own)]
    assert texts[0] == texts[1]
    assert f"in {len(engine.game_info.walkthrough) + 2} turns" in texts[0][-1]


TURNS = "in [turn count] turn[s]."
WORDINGS = (
    "in [turn count] turn(s).",
    "in [turn count] turn(s)! Few need fewer turns",
    "in [turn count] move[s].",
    "after [turn count] turn(s)",
)


@pytest.mark.parametrize("wording", WORDINGS)
def test_only_the_number_is_replaced_in_another_wording_of_the_last_text(wording: str, tmp_path: Path) -> None:
    """Older versions of TextWorld print `in 10 turn(s).`"""
    from textworld.generator.inform7 import generate_inform7_source

    made = story("coin", 1, 3)
    source = generate_inform7_source(load_record(made))
    assert source.count(TURNS) > 1
    path = tmp_path / "tw-older.z8"
    path.write_bytes(compile_story(source.replace(TURNS, wording), "older"))
    path.with_suffix(".json").write_bytes(made.with_suffix(".json").read_bytes())
    engine, own = opened(path=path), StockEngine(path)
    assert engine.game_info.walkthrough
    for delay in range(4):
        for player in (engine, own):
            player.reset()
            for _ in range(delay):
                player.step("look")
        answers = [[player.step(command) for command in own.game_info.walkthrough] for player in (engine, own)]
        assert answers[0] == answers[1]
    assert answers[0][-1].won


@pytest.mark.parametrize(
    "commands",
    [
        ["examine chest drawer", "open it"],
        ["take", "look"],
        ["take", "open chest drawer", "score", "look", "score"],
        ["open", "chest drawer", "take old key from chest drawer", "examine it"],
        ["take zzz", "open chest drawer", "examine it"],
    ],
)
@pytest.mark.parametrize("infos", [(), ALL])
def test_questions_and_pronouns_depend_on_the_history_of_the_episode(
    commands: list[str], infos: tuple[str, ...]
) -> None:
    """Another episode was in the same states before, where its pronouns referred to other things."""
    engine, own = opened(infos), StockEngine(story(), infos)
    engine.reset()
    for command in ["examine trunk", "examine antique trunk", *commands, "open chest drawer", "examine old key"]:
        engine.step(command)
    assert engine.reset() == own.reset()
    for command in commands:
        assert engine.step(command) == own.step(command), command


def test_episodes_of_one_game_share_the_graph() -> None:
    shared = TransitionCache()
    first, second = (shared.engine(story(), ()) for _ in range(2))
    walk(first)
    walk(second)
    assert second.counts == {"hits": len(first.game_info.walkthrough), "misses": 0, "replayed": 0, "audited": 0}


def test_threads_share_a_graph() -> None:
    shared, played = TransitionCache(), []

    def play() -> None:
        played.append(walk(shared.engine(story(), ())))

    threads = [threading.Thread(target=play) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(played) == 8
    assert all(responses == played[0] for responses in played)


def corrupt(graph: TransitionGraph) -> None:
    for edge in graph.root.edges.values():
        edge.response = replace(edge.response, text="Something else.")


def test_an_audit_detects_a_wrong_edge_and_textworld_plays_on() -> None:
    graph = TransitionGraph(story(), ())
    player = CachedEngine(graph, lambda: StockEngine(story()))
    auditor = CachedEngine(graph, lambda: StockEngine(story()), is_audited=lambda: True)
    truth = walk(player)
    player.reset()
    corrupt(graph)
    auditor.reset()
    with pytest.warns(RuntimeWarning, match="text differed from TextWorld's own"):
        answers = [auditor.step(command) for command in auditor.game_info.walkthrough]
    assert answers == truth[1:]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [player.step(command) for command in player.game_info.walkthrough] == truth[1:]
        assert walk(player) == truth
    assert graph.invalid_reason


def test_an_audit_of_a_correct_graph_changes_nothing() -> None:
    graph = TransitionGraph(story(), ALL)
    auditor = CachedEngine(graph, lambda: StockEngine(story(), ALL), is_audited=lambda: True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert walk(auditor) == walk(auditor)
    assert auditor.counts["audited"] == 2 * (len(auditor.game_info.walkthrough) + 1)
    assert graph.invalid_reason is None


@pytest.mark.parametrize(("share", "audited"), [("0", 0), ("0.25", 5), ("1", 20)])
def test_the_fraction_of_audited_episodes(share: str, audited: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache_module.AUDIT_VARIABLE, share)
    chosen: Callable[[], bool] = TransitionCache()._audit_next
    assert sum(chosen() for _ in range(20)) == audited


def random_play(engine: CachedEngine, steps: int) -> None:
    rng = np.random.default_rng(0)
    answer = engine.reset()
    for step in range(steps):
        if answer.won or answer.lost or step % 40 == 0:
            answer = engine.reset()
        answer = engine.step(str(rng.choice(answer.admissible_commands)))


def test_the_cache_stays_within_its_budget_and_correct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "budget_bytes", lambda: GRAPH_BYTES + 50_000)
    monkeypatch.setattr(cache_module, "EVICTION_INTERVAL", 16)
    shared = TransitionCache()
    engine = shared.engine(story(), ())
    random_play(engine, 150)
    graph = engine._graph
    kept = sum(node.size + sum(edge.size for edge in node.edges.values()) for node in graph.nodes.values())
    assert graph.bytes - GRAPH_BYTES == kept <= 50_000 + 16 * 20_000
    assert walk(engine) == walk(StockEngine(story()))


def test_the_most_recently_used_nodes_are_kept() -> None:
    shared = TransitionCache()
    engine = shared.engine(story(), ())
    random_play(engine, 60)
    graph = engine._graph
    stamps = sorted(node.stamp for node in graph.nodes.values())
    middle = stamps[len(stamps) // 2]
    graph.evict(middle)
    assert {node.stamp for node in graph.nodes.values() if node is not graph.root} == {s for s in stamps if s >= middle}
    targets = [edge.target for node in graph.nodes.values() for edge in node.edges.values() if edge.target is not None]
    assert all(graph.nodes[target.key] is target for target in targets)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (cache_module.BUDGET_VARIABLE, "lots", "ACTDE_MEMORY=lots: expected a whole number of MB"),
        (cache_module.BUDGET_VARIABLE, "0", "ACTDE_MEMORY=0: expected a whole number of MB"),
        (cache_module.AUDIT_VARIABLE, "2", "ACTDE_AUDIT=2: expected a share from 0 to 1"),
        (cache_module.AUDIT_VARIABLE, "often", "ACTDE_AUDIT=often: expected a share from 0 to 1"),
    ],
)
def test_a_wrong_setting_is_one_line(name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(GameError, match=re.escape(message)):
        cache_module.budget_bytes() if name == cache_module.BUDGET_VARIABLE else cache_module.audit_share()


@pytest.mark.parametrize(("command", "expected"), [("take old key", True), ("open it", False), ("score", False)])
def test_context_independent_commands(command: str, expected: bool) -> None:
    assert is_context_independent(command) is expected
