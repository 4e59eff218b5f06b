"""A short run of hostile commands against real games; the long run is `python -m benchmarks.textworld_fuzz`."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.textworld_fuzz import GAMES, HIDDEN, Fuzz, in_child
from games.textworld.engines.protocol import INFOS
from tests import ROOT

FUZZ: dict[str, Fuzz] = {}


@pytest.mark.parametrize("family", ["simple", "cooking"])
def test_hostile_commands_find_no_fault(family: str) -> None:
    fuzz = Fuzz(GAMES[family], 1, INFOS)
    fuzz.run(300)
    assert fuzz.violations == []
    assert fuzz.counts["passed"] > 50 and fuzz.counts["stopped"] > 50


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.one_of(st.text(max_size=30), st.binary(max_size=30).map(lambda b: b.decode("latin-1"))), max_size=5))
def test_any_text_keeps_the_contract(commands: list[str]) -> None:
    fuzz = FUZZ.setdefault("coin", Fuzz(GAMES["coin"], 0))
    _, info = fuzz.env.reset(seed=0)
    for command in commands:
        moment = fuzz.env.step(command)
        fuzz._check(command, info, moment)
        info = moment[4]
    assert fuzz.violations == []


def test_a_fault_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    fuzz = Fuzz(GAMES["coin"], 0)
    text, info = fuzz.env.reset(seed=0)
    for leak in ("[taking the coin - succeeded]", "<score>\n0</score>", "Player is in r_0.", "Restore failed."):
        assert any(kind.search(leak) for kind in HIDDEN)
    fuzz._check("look", info, (text, 1.0, False, False, {**info, "facts": []}))
    assert [what.partition(": ")[2] for what in fuzz.violations] == [
        "has unknown infos ['extra.walkthrough', 'facts']",
        "the reward is not the difference of scores",
    ]


def test_a_child_process_of_the_long_run_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = in_child("coin", 50, 0, ())
    assert result["found"] == [] and result["counts"]["commands"] == 50
