"""The patches that speed up generation change no game, and every generated game is checked."""

from __future__ import annotations

import contextlib
import json
import resource
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from games.errors import GameError
from games.textworld.generation import make_game as making
from games.textworld.generation.make_game import canonical_hash, make_game
from games.textworld.upstream import fast_chaining
from games.textworld.upstream.compile import compile_story
from games.textworld.upstream.rule_simulation import RuleSimulation, without_compiling
from games.textworld.validation import playthrough_check
from games.worker_pool import WorkerPool


def serialized(name: str, level: int, seed: int) -> str:
    """All that a game file holds of the game, except for the order of sets."""
    game = make_game(name, {"level": level, "seed": seed})
    return json.dumps([canonical_hash(game), making._record(game, "").decode()])


@pytest.mark.parametrize(("name", "level"), [("simple", 1), ("simple", 6), ("coin", 7), ("coin", 103), ("cooking", 7)])
def test_simulating_the_rules_finds_the_actions_that_compiling_and_playing_finds(
    name: str, level: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from textworld import GameMaker

    with monkeypatch.context() as patched:
        patched.setattr(GameMaker, "compile", lambda maker, path: pytest.fail("compiled"))
        fast = serialized(name, level, 3)
    monkeypatch.setattr(making, "without_compiling", contextlib.nullcontext)
    assert fast == serialized(name, level, 3)


@pytest.mark.parametrize(("name", "level"), [("treasure", 14), ("treasure", 21), ("quest", 6), ("quest", 8)])
def test_the_fast_search_finds_the_same_quest(name: str, level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fast = serialized(name, level, 1)
    monkeypatch.setattr(making, "quicker_chaining", contextlib.nullcontext)
    assert fast == serialized(name, level, 1)


def test_the_facts_of_a_state_are_collected_once() -> None:
    from textworld.generator.chaining import ChainingOptions

    reads = []

    class State:
        @property
        def facts(self) -> list[Any]:
            reads.append(self)
            return []

    chainer = SimpleNamespace(options=ChainingOptions.__new__(ChainingOptions))
    partial = SimpleNamespace(mapping={}, rule=SimpleNamespace(preconditions=[]))
    first, second = State(), State()
    for state in (first, first, second):
        assert not fast_chaining._is_impossible(chainer, state, partial)
    assert reads == [first, second]


def test_a_walkthrough_that_the_rules_do_not_decide_is_compiled_and_played(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []

    def unsure(self: RuleSimulation, command: str) -> tuple[Any, str]:
        return None, ""

    from textworld import GameMaker

    compile_game = GameMaker.compile

    def compile_and_count(maker: GameMaker, path: str) -> Any:
        compiled.append(path)
        return compile_game(maker, path)

    monkeypatch.setattr(GameMaker, "compile", compile_and_count)
    monkeypatch.setattr(RuleSimulation, "step", unsure)
    slow = serialized("coin", 2, 3)
    monkeypatch.undo()
    assert len(compiled) == 1
    assert slow == serialized("coin", 2, 3)


@pytest.mark.filterwarnings("ignore:.*is not fully supported")
@pytest.mark.parametrize("how", [without_compiling, contextlib.nullcontext])
def test_only_the_first_of_equal_events_gets_the_walkthrough(how: Callable[[], Any]) -> None:
    from textworld import GameMaker
    from textworld.generator.game import Event, Quest

    maker = GameMaker()
    room, coin = maker.new_room("cell"), maker.new(type="o", name="coin")
    maker.set_player(room)
    room.add(coin)
    taken = maker.new_fact("in", coin, maker.inventory)
    maker.quests = [Quest(win_events=[Event(conditions={taken})], reward=reward) for reward in (1, 2)]
    with how():
        maker.set_walkthrough(["take coin"])
    first, second = (event for quest in maker.quests for event in quest.win_events)
    assert (list(first.commands), list(second.commands)) == (["take coin"], [])


def test_the_story_equals_textworlds(tmp_path: Any) -> None:
    from textworld.generator.inform7 import compile_inform7_game, generate_inform7_source

    source = generate_inform7_source(make_game("treasure", {"level": 11, "seed": 1}))
    theirs = tmp_path / "theirs.z8"
    compile_inform7_game(source, str(theirs))
    ours, theirs_too = compile_story(source, "a game"), theirs.read_bytes()
    assert (ours[:18], ours[24:]) == (theirs_too[:18], theirs_too[24:])  # between them is the day


def test_a_source_that_does_not_compile_is_one_line() -> None:
    with pytest.raises(GameError, match="a game: too large for a game file"):
        compile_story("This is no Inform.", "a game")


def replace_compiler(home: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = home / "share" / "inform7" / "Compilers" / "ni"
    compiler.parent.mkdir(parents=True)
    compiler.write_text(f"#!/bin/sh\n{code}\n")
    compiler.chmod(0o700)
    monkeypatch.setenv("INFORM_HOME", str(home))


def test_a_full_disk_is_no_fault_of_the_game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_compiler(tmp_path, "exit 1", monkeypatch)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))  # larger files fail, as all do on a full disk
    try:
        with pytest.raises(OSError, match="File too large"):
            compile_story("", "a game")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_killed_compiler_is_no_fault_of_the_game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_compiler(tmp_path, "kill -KILL $$", monkeypatch)
    with (
        WorkerPool(1) as pool,
        pytest.raises(BrokenExecutor, match=r"a game: TextWorld's compiler was killed \(SIGKILL"),
    ):
        pool.submit(compile_story, "", "a game").result()


@pytest.fixture(scope="module")
def sound() -> tuple[bytes, dict[str, Any]]:
    from textworld.generator.inform7 import generate_inform7_source

    game = make_game("treasure", {"level": 3, "seed": 2})
    record: dict[str, Any] = json.loads(making._record(game, ""))
    return compile_story(generate_inform7_source(game), "a game"), record


def test_a_sound_game_has_no_problem(sound: tuple[bytes, dict[str, Any]]) -> None:
    story, record = sound
    assert playthrough_check.find_generation_fault(story, json.dumps(record).encode()) == ""


@pytest.mark.parametrize(
    ("commands", "problem"),
    [
        (lambda way: way[:-1], "does not win"),
        (lambda way: ["take moon", *way[:-1]], "does not win"),
        (lambda way: ["examine me", *way], "did examining yourself instead of nothing"),
    ],
)
def test_a_walkthrough_that_does_not_win_is_a_problem(
    commands: Any, problem: str, sound: tuple[bytes, dict[str, Any]]
) -> None:
    story, record = sound
    changed = {**record, "metadata": {**record["metadata"], "walkthrough": commands(record["metadata"]["walkthrough"])}}
    assert problem in playthrough_check.find_generation_fault(story, json.dumps(changed).encode())


def test_a_record_of_another_game_is_a_problem(sound: tuple[bytes, dict[str, Any]]) -> None:
    story, _ = sound
    other = make_game("treasure", {"level": 3, "seed": 5})
    assert playthrough_check.find_generation_fault(story, making._record(other, "")) != ""


@pytest.mark.parametrize("redundant", ["take moon", "open bag", "go nowhere"])
def test_a_redundant_command_of_a_walkthrough_is_no_problem(
    redundant: str, sound: tuple[bytes, dict[str, Any]]
) -> None:
    story, record = sound
    walkthrough = [redundant, *record["metadata"]["walkthrough"]]
    changed = {**record, "metadata": {**record["metadata"], "walkthrough": walkthrough}}
    assert playthrough_check.find_generation_fault(story, json.dumps(changed).encode()) == ""
