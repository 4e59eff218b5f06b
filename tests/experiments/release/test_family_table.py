"""The document of families and levels agrees with the code."""

from __future__ import annotations

import json
from typing import Any

import pytest

from experiments.release import family_table
from experiments.release.family_table import MEASURES, count_states, levels_of, markdown, measure
from games.textworld.generation.families import FAMILIES
from games.textworld.generation.make_game import FaultyGameError
from tests import ROOT

DOCUMENT = ROOT / "docs" / "families.md"
RESULTS: dict[str, Any] = json.loads(DOCUMENT.with_suffix(".json").read_text())


def test_the_document_follows_from_its_results() -> None:
    assert DOCUMENT.read_text() == markdown(RESULTS)


def test_every_family_and_level_has_the_settings_of_the_code() -> None:
    found = [(row["family"], row["level"], row["settings"]) for row in RESULTS["rows"]]
    assert found == [
        (name, level, family.preset(level)) for name, family in FAMILIES.items() for level in levels_of(name)
    ]
    assert all(set(row["found"]) == set(MEASURES) for row in RESULTS["rows"])


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("coin", 3),
        ("treasure", 1),
        *(pytest.param(name, 1, marks=pytest.mark.slow) for name in ("simple", "cooking", "quest")),
    ],
)
def test_measuring_a_level_is_deterministic(name: str, level: int) -> None:
    row = next(row for row in RESULTS["rows"] if (row["family"], row["level"]) == (name, level))
    again = measure(name, level, row["candidates"])
    assert again == row
    assert again["different"] + again["impossible"] <= again["candidates"]
    assert again["different"] > 0


@pytest.mark.parametrize(("name", "level"), [("coin", 3), ("treasure", 1), ("quest", 1)])
def test_crawling_a_small_game_gives_the_documented_number_of_states(name: str, level: int) -> None:
    row = next(row for row in RESULTS["rows"] if (row["family"], row["level"]) == (name, level))
    assert count_states(name, level, row["candidates"]) == row["states"] > 1


def test_the_first_game_that_compiles_is_crawled(monkeypatch: pytest.MonkeyPatch) -> None:
    def crawl(seed: int) -> int:
        if seed < 2:
            raise FaultyGameError("try another seed")
        return 10 * seed

    monkeypatch.setattr(family_table, "make_game", lambda name, settings: settings["seed"])
    monkeypatch.setattr(family_table, "_crawl", crawl)
    assert count_states("coin", 3, 4) == 20
    assert count_states("coin", 3, 2) is None
