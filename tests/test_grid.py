"""What `compare --vary` reads, and where a figure puts it."""

import json
from pathlib import Path
from typing import Any

import pytest

from experiments import grid, report
from experiments.grid_figures import on_a_scale, positions, sweep_figure

BANDIT = Path(__file__).parent.parent / "docs" / "bandit" / report.RESULTS


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("whitening=none,batch", ["none", "batch"]),
        ("value-loss=ppo,ilql", ["ppo", "ilql"]),
        ("kl_target=none,0.1", [None, 0.1]),
        ("detach-q=true,false", [True, False]),
        ("lr=1e-3,1", [0.001, 1]),
        ("trunk=pico,small", ["pico", "small"]),
    ],
)
def test_values_are_read_by_their_setting(text: str, values: list[Any]) -> None:
    name, found = grid.parse_values(text)
    assert found == values
    grid.check(grid.cells(["actde"], [0], name, found), {"game": "bandit", "kl_coef": 0.1})


def test_numbers_stand_where_they_are_and_words_side_by_side() -> None:
    assert positions([3, 0.5, 3]) == {3: 3.0, 0.5: 0.5}
    assert positions(["ppo", "ilql", "ppo"]) == {"ppo": 0, "ilql": 1}
    assert positions([None, 0.1]) == {None: 0, 0.1: 1}
    assert positions([0, 0.1]) == {0: 0, 0.1: 1}  # 0 has no place on a logarithmic axis
    assert positions([True, False]) == {True: 0, False: 1}
    assert on_a_scale([3, 0.5])
    for values in (["ppo"], [None, 0.1], [0, 1], [False, True]):
        assert not on_a_scale(values)


def varied(values: list[Any]) -> dict[str, Any]:
    """Committed runs, as if a setting had been varied."""
    results: dict[str, Any] = json.loads(BANDIT.read_text())
    for place, row in enumerate(results["runs"]):
        row |= {"setting": "setting", "value": values[place // 2 % len(values)]}
    return results


@pytest.mark.parametrize("values", [["ppo", "ilql"], [None, 0.1], [False, True], [0, 1], [0.01, 1]])
def test_a_report_on_any_values_is_written(tmp_path: Path, values: list[Any]) -> None:
    results = varied(values)
    report.write(tmp_path, results["about"], results["runs"])
    assert (tmp_path / "README.md").read_text() == report.markdown(json.loads((tmp_path / "results.json").read_text()))
    text = (tmp_path / "sweep.svg").read_text()
    for word in (value for value in values if isinstance(value, str)):
        assert f"<!-- {word} -->" in text
    sweep_figure(results, tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_text() == text
