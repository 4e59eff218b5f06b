"""The command filter passes nothing that could hang the interpreter, cheat or break the record."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks.hostile import CORPUS
from games.textworld.engines.command_filter import MAX_LENGTH, NO_SENSE, NO_VERB, CommandFilter

TEMPLATES = ["go east", "look", "inventory", "take {o}", "take {o} from {c}", "open {d}", "prepare meal", "eat {f}"]
ADMISSIBLE = ["go east", "take salt and pepper", "take old key from chest", "look"]
FILTER = CommandFilter(TEMPLATES)


@pytest.mark.parametrize("command", CORPUS)
def test_a_hostile_command_is_stopped(command: str) -> None:
    verdict = FILTER.check(command, ADMISSIBLE)
    assert verdict.command is None
    assert verdict.reason
    assert verdict.reply in (NO_VERB, NO_SENSE)


@pytest.mark.parametrize(
    ("command", "passed"),
    [
        ("go east", "go east"),
        (" Go  East \n", "go east"),
        ("e", "go east"),
        ("east", "go east"),
        ("go e", "go east"),
        ("l", "look"),
        ("inv", "inventory"),
        ("look at old key", None),
        ("take old key", "take old key"),
        ("TAKE Old Key", "take old key"),
        ("take salt and pepper", "take salt and pepper"),
        ("take salt and sugar", None),
        ("go west", None),
        ("prepare meal", "prepare meal"),
        ("prepare dinner", None),
        ("goal", "goal"),
    ],
)
def test_a_plain_command_passes_in_its_long_form(command: str, passed: str | None) -> None:
    assert FILTER.check(command, ADMISSIBLE).command == passed
    examining = CommandFilter([*TEMPLATES, "examine {o}"])
    assert examining.check("look at old key", ()).command == "examine old key"
    assert examining.check("x old key", ()).command == "examine old key"


@pytest.mark.parametrize("name", ["key #2", "$5 bill", "on/off switch", "R&D door", "door = 1"])
def test_a_listed_command_passes_unchanged_if_the_interpreter_can_take_it(name: str) -> None:
    assert FILTER.check(f"take {name}", [f"take {name}"]).command == f"take {name}"
    assert FILTER.check(f"take {name}", ADMISSIBLE).command is None


@pytest.mark.parametrize("name", ["key #2", "$5 bill", "on/off switch", "R&D door", "very " * 30 + "old key"])
def test_a_listed_command_may_pass_in_stored_transitions(name: str) -> None:
    assert FILTER.may_pass(f"take {name}")
    assert not FILTER.may_pass(f"steal {name}")
    assert not FILTER.may_pass(f"take {name}. quit")
    assert not FILTER.may_pass(f"take {name} then quit")


@pytest.mark.parametrize("command", ["take \\box", "take big, red box", "take no. 5", "take k\ney", "take caf\xe9"])
def test_a_listed_command_that_the_interpreter_cannot_take_is_stopped(command: str) -> None:
    assert FILTER.check(command, [command]).command is None


@given(st.one_of(st.text(max_size=300), st.text(alphabet="take openlk \\.\0\nyzGO-'", max_size=40)))
@example("take\x0bkey")
@example("take key\\")
def test_a_command_that_passes_is_one_sentence_with_a_verb_of_the_game(command: str) -> None:
    verdict = FILTER.check(command, ADMISSIBLE)
    assert (verdict.command is None) is (verdict.reason is not None)
    if verdict.command is not None and verdict.command not in ADMISSIBLE:
        assert re.fullmatch(r"[a-z0-9' -]+", verdict.command)
        assert len(verdict.command) <= MAX_LENGTH + len("examine ")
        assert verdict.command.split()[0] in {"go", "look", "inventory", "take", "open", "prepare", "eat"} | {
            "goal",
            "help",
            "score",
            "wait",
        }
        assert not {"then", "and", "all"} & set(verdict.command.split())
    if verdict.command is not None:
        assert FILTER.check(verdict.command, ADMISSIBLE).command == verdict.command


def test_the_hostile_corpus_changes_nothing_in_a_real_game(tmp_path: Path) -> None:
    """The commands run in a child process with a time limit, and its folder must stay empty."""
    code = """
import json, sys, games
env = games.resolve("textworld:simple?level=1&seed=7")[0].make(max_turns=10_000, infos=["inventory", "description"])
same = ("admissible_commands", "score", "won", "lost", "inventory", "description")
_, before = env.reset(seed=0)
for command in json.loads(sys.stdin.read()):
    text, reward, terminated, truncated, info = env.step(command)
    assert (reward, terminated, truncated) == (0.0, False, False), command
    assert {key: info[key] for key in same} == {key: before[key] for key in same}, command
    assert info["refused"] and text, command
for command in before["extra.walkthrough"]:
    text, reward, terminated, truncated, info = env.step(command)
assert info["won"] and terminated and info["score"] == info["max_score"]
"""
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(CORPUS), text=True, timeout=120, cwd=tmp_path, check=False
    )
    assert done.returncode == 0
    assert not list(tmp_path.iterdir())
