"""Each replacement of TextWorld's and Jericho's code returns what the replaced code returns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from games.textworld.engines.protocol import INFOS
from games.textworld.engines.stock import StockEngine
from games.textworld.generation.make_game import cached_game
from games.textworld.upstream.game_state import Tracker
from games.textworld.upstream.interpreter import Interpreter
from games.textworld.upstream.rule_matching import FactTables, RuleMatcher
from games.textworld.upstream.start import trace_name

GAMES = (("simple", 1, 7), ("coin", 5, 1), ("treasure", 12, 2), ("cooking", 4, 2), ("quest", 3, 1))


@pytest.fixture(params=GAMES, ids=lambda game: game[0])
def story(request: pytest.FixtureRequest) -> Path:
    family, level, seed = request.param
    return cached_game(family, {"level": level, "seed": seed})


def random_commands(engine: StockEngine, steps: int) -> Iterator[tuple[str | None, Any]]:
    """Play at random. Yield each command, or None for a reset, with its response."""
    rng, response = np.random.default_rng(0), None
    for step in range(steps):
        if response is None or response.won or response.lost or step % 40 == 0:
            response = engine.reset()
            yield None, response
        command = str(rng.choice(response.admissible_commands))
        response = engine.step(command)
        yield command, response


def test_the_fast_start_changes_no_response(story: Path) -> None:
    fast = StockEngine(story, INFOS, fast=True)
    for command, response in random_commands(StockEngine(story, INFOS), 40):
        assert (fast.reset() if command is None else fast.step(command)) == response


def test_the_tracker_follows_textworlds_progression(story: Path) -> None:
    from textworld.generator.game import Game, GameProgression
    from textworld.generator.inform7 import Inform7Game

    game = Game.deserialize(json.loads(story.with_suffix(".json").read_text()))
    inform7, tracker, rng = Inform7Game(game), Tracker(game, policies=True), np.random.default_rng(0)
    for episode in range(4):
        progression, state = GameProgression(game), tracker.start
        for _ in range(25):
            policy = progression.winning_policy
            assert tracker.policy_commands(state) == (policy and tuple(inform7.gen_commands_from_actions(policy)))
            assert [a for actions in state.actions for a in actions] == progression.valid_actions
            if progression.done:
                break
            follow = policy and rng.random() < episode / 4
            actions = policy if follow else progression.valid_actions
            action = actions[0 if follow else rng.integers(len(actions))]
            event = trace_name(inform7, game.kb.inform7_events, action)
            progression.update(inform7.detect_action(event, progression.valid_actions))
            state = tracker.advance(state, [event])


def test_a_thing_may_have_the_name_of_a_constant_of_another_type() -> None:
    from textworld.generator.data import KnowledgeBase
    from textworld.logic import Proposition, State, Variable

    kb, room = KnowledgeBase.default(), Variable("r_0", "r")
    facts = [Proposition("at", [Variable("P"), room]), Proposition("at", [Variable("I", "o"), room])]
    rule, state = kb.rules["take"], State(kb.logic, facts)
    expected = tuple(state.all_instantiations(rule, kb.types.constants_mapping))
    assert len(expected) == 1
    grouped = {fact.signature: frozenset((fact,)) for fact in facts}
    assert RuleMatcher(rule, kb, FactTables()).actions(kb.logic, grouped) == expected


def test_snapshots_are_jerichos_states(story: Path) -> None:
    """Loading a snapshot restores the state that Jericho reads, and the same commands then print the same."""
    interpreter = Interpreter(story)
    commands = ["look", "inventory", "examine zzz", "look"]
    snapshots, states, outputs = [], [], []
    for command in commands:
        snapshots.append(interpreter.save())
        states.append(interpreter._frotz.get_state())
        outputs.append(interpreter.step(command))
    for i in (2, 0, 3, 1):
        interpreter.load(snapshots[i])
        for ours, jerichos in zip(interpreter._frotz.get_state(), states[i], strict=True):
            assert np.array_equal(ours, jerichos)
        assert interpreter.step(commands[i]) == outputs[i]
    interpreter._frotz.set_state(states[2])
    expected, *_ = interpreter._frotz.step(commands[2])
    interpreter.load(snapshots[2])
    assert interpreter._send(commands[2]) == expected
    interpreter.close()
