"""The expressions in the texts of a `.tw-pddl` game are computed without `eval`, and things get ALFWorld's names."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from textworld.generator.game import EntityInfo

from games.errors import GameError
from games.textworld.upstream.pddl_start import (
    ATTRIBUTES,
    MAX_NAME,
    UNREACHABLE,
    _checked_translation,
    display_names,
    evaluate,
    plan,
)


def thing(name: str, indefinite: str | None = "a") -> EntityInfo:
    info = EntityInfo("id", "object")
    info.name, info.indefinite = name, indefinite
    return info


APPLE, NAMELESS = thing("apple 1"), thing("")


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("o.name", "apple 1"),
        (" o.indefinite + ' ' + o.name ", "a apple 1"),
        ("'[' + o.name + ']'", "[apple 1]"),
        ("x.name or x.id", "id"),
        ("o.name or o.id", "apple 1"),
        ("o.name and o.type", "object"),
        ("x.name and x.type", ""),
        ("o.desc or o.noun", None),
        ("o", APPLE),
        ('"it\'s"', "it's"),
    ],
)
def test_the_value_is_that_of_python(expression: str, value: object) -> None:
    variables = {"o": APPLE, "x": NAMELESS}
    assert evaluate(expression, variables) == value == eval(expression.strip(), variables)


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('touch broken')",
        "o.__class__",
        "o.name.__class__",
        "o.serialize()",
        "().__class__",
        "open('broken', 'w')",
        "'a' * 10 ** 9",
        "lambda: 0",
        "(o := 'a')",
        "f'{o}'",
        "not o",
        "1",
        "o if o else o",
        "import os",
        "a b",
        "",
    ],
)
def test_other_code_is_refused(expression: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SyntaxError):
        evaluate(expression, {"o": APPLE})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("expression", "error"), [("p", KeyError), ("o.desc + 'a'", TypeError), ("o + o", TypeError)])
def test_an_expression_without_value_raises(expression: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        evaluate(expression, {"o": APPLE})


def test_the_attributes_are_texts_of_a_thing() -> None:
    assert set(EntityInfo.__slots__) > ATTRIBUTES


def test_things_are_numbered_by_kind() -> None:
    ids = ["mug_bar_1", "mug_bar_2_bar_3", "sink_bar_1_bar_sinkbasin", "sink_bar_1", "agent1", "a_b"]
    assert display_names(ids) == {
        "mug_bar_1": "mug 2",
        "mug_bar_2_bar_3": "mug 1",
        "sink_bar_1": "sink 1",
        "sink_bar_1_bar_sinkbasin": "sinkbasin 1",
    }


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize(
    ("search", "commands"),
    [
        (lambda infos: ["look", *infos], ("look", "go")),
        (lambda infos: [], ()),
        (lambda infos: time.sleep(60), ()),
        (lambda infos: os.kill(os.getpid(), signal.SIGKILL), ()),
        (lambda infos: infos["x"], ()),
    ],
)
def test_a_search_ends(search: Callable[[Any], Any], commands: tuple[str, ...]) -> None:
    begun = time.monotonic()
    env = SimpleNamespace(_pddl_state=SimpleNamespace(replan=search), _entity_infos=["go"])
    assert plan(env, seconds=1) == commands
    assert time.monotonic() - begun < 30, "SIGALRM ends the search"


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_an_interrupted_search_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[int] = []
    fork = os.fork

    def recorded() -> int:
        children.append(fork())
        return children[-1]

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fork", recorded)
    before = signal.signal(signal.SIGALRM, interrupt)
    env = SimpleNamespace(_pddl_state=SimpleNamespace(replan=lambda infos: time.sleep(60)), _entity_infos=[])
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            plan(env, seconds=60)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    with pytest.raises(ChildProcessError):
        os.waitpid(children[0], os.WNOHANG)


@pytest.mark.parametrize("optimize", [False, True])
def test_a_goal_that_no_commands_reach_is_refused(optimize: bool) -> None:
    translated = _checked_translation(lambda *texts, **options: ("task", f"begin_version\n{UNREACHABLE}"))
    if optimize:  # the form for the search may have no solution either; the game can be played
        assert translated("domain", "problem", optimize=True)[0] == "task"
    else:
        with pytest.raises(GameError, match="no commands reach the goal"):
            translated("domain", "problem")


def test_a_long_name_is_refused() -> None:
    translated = _checked_translation(lambda *texts, **options: ("task", "m" * (MAX_NAME + 1)))
    with pytest.raises(GameError, match=f"names of at most {MAX_NAME} bytes"):
        translated("domain", "problem")
