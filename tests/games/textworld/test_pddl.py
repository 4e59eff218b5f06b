"""Games of ALFWorld's domain keep the contract, and malformed ones end in one line. The planner must be installed."""

from __future__ import annotations

import json
import math
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

import games
from benchmarks import household
from games import GameError
from games.textworld.engines.command_filter import NOTHING
from games.textworld.engines.subprocess_engine import SubprocessEngine
from games.textworld.env import TextWorld
from games.textworld.upstream.pddl_start import MAX_NAME
from tests.conftest import Command

pytestmark = pytest.mark.slow
WALKTHROUGH = [
    "go to fridge 1",
    "open fridge 1",
    "take apple 1 from fridge 1",
    "go to sinkbasin 1",
    "clean apple 1 with sinkbasin 1",
    "go to fridge 1",
    "move apple 1 to fridge 1",
]
GRAMMAR = 'grammar :: """{"intro": [{"rhs": "%s"}]}""";'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return household.write(tmp_path / "game.tw-pddl")


def make(path: Path, *infos: str, **keywords: Any) -> TextWorld:
    env = games.resolve(str(path))[0].make(infos=infos, **keywords)
    assert isinstance(env, TextWorld)
    return env


def play(env: TextWorld, steps: int) -> list[Any]:
    """Play random commands, in several episodes if needed, and return everything that the game returned."""
    rng = random.Random(0)
    record: list[Any] = []
    info: dict[str, Any] = {"admissible_commands": []}
    for _ in range(steps):
        commands = info["admissible_commands"]
        record.append(env.step(rng.choice(commands)) if commands else env.reset(seed=0))
        info = record[-1][-1]
    return record


def test_five_hundred_random_steps_keep_the_contract(path: Path) -> None:
    env = make(path)
    record = play(env, 500)
    ends = 0
    for result in record:
        text, info = result[0], result[-1]
        assert text == text.strip() and text in env.observation_space
        commands = info["admissible_commands"]
        assert commands == sorted(set(commands))
        assert info["score"] == int(info["won"]) and info["max_score"] == 1 and info["lost"] is False
        assert info["objective"] == f"Your task is to: {household.TASK}."
        if len(result) == 5:
            _, reward, terminated, truncated, _ = result
            assert (reward, terminated) == (float(info["won"]), info["won"])
            assert bool(commands) is not (terminated or truncated)
            ends += terminated or truncated
    assert ends >= 4


def test_episodes_depend_on_the_commands_alone(path: Path) -> None:
    alone = play(make(path), 120)
    env = make(path)
    play(env, 50)
    assert play(env, 120) == alone, "after other episodes, and in another process"


def test_the_plan_is_the_walkthrough_and_wins(path: Path) -> None:
    env = make(path, "policy_commands", "intermediate_reward")
    _, info = env.reset()
    assert info["extra.walkthrough"] == info["policy_commands"] == WALKTHROUGH
    for turn, command in enumerate(WALKTHROUGH, start=1):
        _, reward, terminated, _, info = env.step(command)
        assert info["policy_commands"] == WALKTHROUGH[turn:]
        assert info["intermediate_reward"] == 1
    assert (reward, terminated, info["won"]) == (1.0, True, True)


def test_the_walkthrough_of_the_file_comes_first(path: Path) -> None:
    own = ["look", *WALKTHROUGH]
    household.write(path, walkthrough=own)
    assert make(path).reset()[1]["extra.walkthrough"] == own
    env = make(path, "policy_commands")
    _, info = env.reset()
    assert info["extra.walkthrough"] == info["policy_commands"] == own
    assert env.step("look")[-1]["policy_commands"] == WALKTHROUGH
    assert env.step("look")[-1]["policy_commands"] == WALKTHROUGH, "a new plan"


def test_after_a_search_without_success_the_policy_is_unknown(path: Path) -> None:
    household.write(path, **problem("(isClean ?o)", "(holds agent1 ?o)"))
    env = make(path, "policy_commands", "intermediate_reward")
    _, info = env.reset()
    assert info["extra.walkthrough"] == info["policy_commands"] == []
    *_, info = env.step("look")
    assert (info["policy_commands"], info["intermediate_reward"]) == ([], 0)


def test_the_patches_change_no_result(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fast = play(make(path, "policy_commands"), 60)
    monkeypatch.setenv("ACTDE_ENGINE", "stock")
    assert play(make(path, "policy_commands"), 60) == fast


def test_a_command_that_is_not_listed_does_nothing(path: Path) -> None:
    env = make(path)
    opening, first = env.reset()
    for command in ("xyzzy", "take apple 1", "", "\ud800", "a\nb", "LOOK", "x" * 10_000):
        text, reward, terminated, _, info = env.step(command)
        assert (text, reward, terminated) == (NOTHING, 0.0, False)
        assert info["refused"] == "not an admissible command"
        assert info["admissible_commands"] == first["admissible_commands"]
    assert "You are in the middle of a room." in opening
    assert "refused" not in env.step(" look\n")[-1]


def problem(old: str, new: str) -> dict[str, str]:
    assert old in household.PROBLEM
    return {"pddl_problem": household.PROBLEM.replace(old, new)}


MALFORMED: dict[str, tuple[dict[str, str], str]] = {
    "an empty domain": ({"pddl_domain": ""}, "cannot read this game"),
    "a misspelled effect": (
        {"pddl_domain": "(define (domain d) (:predicates (p)) (:action a :parameters () :efect (p)))"},
        "cannot read this game",
    ),
    "no PDDL": ({"pddl_problem": "print('hello')"}, "Expected '(', got print"),
    "an open bracket": ({"pddl_problem": household.PROBLEM.rstrip().removesuffix(")")}, "Missing ')'"),
    "deep nesting": ({"pddl_problem": "(" * 100_000}, "RecursionError"),
    "no goal": (problem("(:goal", "(:gaol"), "cannot read this game"),
    "no way to the goal": (problem("?o AppleType", "?o MugType"), "(no commands reach the goal of the problem)"),
    "an unknown predicate": (problem("(isClean ?o)", "(isNew ?o)"), "Undeclared predicate: isnew"),
    "an unknown thing": (problem("(openable Fridge_bar_1)", "(openable Safe)"), "cannot read this game"),
    "no ASCII": (problem("Mug", "Tässchen"), "Non-ASCII character"),
    "an unknown type": (problem("wall - location", "wall - place"), "cannot read this game"),
    "a long name": (problem("Mug_bar_1", "m" * (MAX_NAME + 1)), f"names of at most {MAX_NAME} bytes"),
    "no grammar": ({"grammar": "hello"}, "cannot read this game"),
    "a grammar that is no JSON": ({"grammar": 'grammar :: """{"intro": }""";'}, "JSONDecodeError"),
    "no intro": ({"grammar": 'grammar :: """{}""";'}, "#intro#"),
    "no template": ({"grammar": GRAMMAR % "hello"}, "KeyError"),
    "an unknown symbol": ({"grammar": GRAMMAR % "#story#"}, "#story#"),
    "code": ({"grammar": GRAMMAR % "{open('broken', 'w')}"}, "expected names, attributes such as o.name"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_game_is_one_line(case: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    changes, message = MALFORMED[case]
    with pytest.raises(GameError) as error:
        make(household.write(path, **changes))
    assert str(error.value).startswith(f"{path}: TextWorld ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("rule", ["#intro#", "#intro# #intro#"])
def test_an_endless_text_is_one_line(rule: str, path: Path) -> None:
    household.write(path, grammar=GRAMMAR % rule)
    with pytest.raises(GameError, match=r"hangs \(no answer within 30 s\) while it is loaded"):
        SubprocessEngine(path, engine_name="pddl", loading_seconds=30)


def test_a_dead_planner_ends_the_episode_and_the_next_one_plays(path: Path) -> None:
    env = make(path)
    opening = env.reset()
    assert isinstance(env._engine, SubprocessEngine) and env._engine._child is not None
    os.kill(env._engine._child.process.pid, signal.SIGKILL)
    with pytest.raises(GameError, match="crashed its interpreter"):
        env.step("look")
    assert env.reset() == opening


def test_all_commands_accept_the_game(path: Path, command: Command, tmp_path: Path) -> None:
    game, run = ("--game", str(household.write(path, walkthrough=WALKTHROUGH))), str(tmp_path / "run")
    status, out, err = command("play", "--agent", "walkthrough", *game)
    assert (status, err) == (0, "") and "won, score 1 of 1, 7 turns" in out
    status, out, err = command("evaluate", "--agent", "random", *game, "--episodes", "2", "--json")
    assert (status, err) == (0, "") and json.loads(out)
    sizes = ("--trunk", "pico", "--episodes", "2", "--parallel", "2", "--max-turns", "20", "--iterations", "2")
    status, _, err = command("train", "--optimizer", "imitation", *game, *sizes, "--out", run)
    assert status == 0, err
    for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
        assert all(math.isfinite(value) for value in json.loads(line).values() if isinstance(value, float))
    status, out, err = command("watch", run)
    assert status == 0 and "fridge 1" in out, err
