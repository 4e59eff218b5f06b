"""Several varied settings: all combinations, samples, and the report and figures of their results."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from actde.errors import ConfigError
from agents.protocol import AgentError
from experiments.compare import report, results
from experiments.compare.runs import combinations, grid_runs
from tests import ROOT

GRID = ["lr=0.1,0.2", "q_lr=1,2,3"]


def test_several_settings_have_all_combinations() -> None:
    assert combinations(GRID) == [{"lr": lr, "q_lr": q_lr} for lr in (0.1, 0.2) for q_lr in (1, 2, 3)]
    assert combinations([]) == [{}]
    runs = grid_runs(["ppo", "actde"], [0], combinations(GRID), {})
    assert [run.name for run in runs if run.optimizer == "ppo"] == ["ppo-lr=0.1-seed0", "ppo-lr=0.2-seed0"]
    named = [run for run in runs if run.optimizer == "actde"]
    assert len(named) == 6 and named[1].name == "actde-lr=0.1-q_lr=2-seed0"
    assert named[1].explicit({"game": "bandit"}) == {
        "game": "bandit", "optimizer": "actde", "seed": 0, "lr": 0.1, "q_lr": 2
    }  # fmt: skip
    assert results.setting_values(named[1].to_json()) == {"lr": 0.1, "q_lr": 2}
    assert results.setting_values(runs[0].to_json()) == {"lr": 0.1}


def test_runs_are_named_by_values_that_vary_takes() -> None:
    for given in ("detach_q=true,false", "max_turns=none,20", "whitening=batch,none"):
        name, _, values = given.partition("=")
        planned = grid_runs(["actde"], [0], combinations([given]), {})
        assert [run.name for run in planned] == [f"actde-{name}={value}-seed0" for value in values.split(",")]
        rows = [run.to_json() for run in planned]
        assert list(results.by_label(rows)) == [f"actde, {name} {value}" for value in values.split(",")]


def test_samples_are_different_combinations_and_the_beginning_of_larger_samples() -> None:
    everything = combinations(GRID)
    for count in range(1, 7):
        drawn = combinations(GRID, count)
        assert len({tuple(each.items()) for each in drawn}) == count
        assert all(each in everything for each in drawn)
        assert drawn == combinations(GRID, 6)[:count]
    assert combinations(GRID, 6) != everything  # the order is random


def test_a_range_is_sampled_log_uniformly() -> None:
    drawn = [each["lr"] for each in combinations(["lr=1e-5..1e-3"], 400)]
    assert len(set(drawn)) == 400 and min(drawn) >= 1e-5 and max(drawn) <= 1e-3
    assert sum(lr < 1e-4 for lr in drawn) == pytest.approx(200, abs=40)  # 4 standard deviations
    assert all(float(f"{lr:.3g}") == lr for lr in drawn)
    whole = [each["minibatches"] for each in combinations(["minibatches=1..8"], 8)]
    assert sorted(whole) == [*range(1, 9)] and all(type(each) is int for each in whole)


def test_a_text_with_dots_is_a_value() -> None:
    assert combinations(["game=bandit?seed=1..3,ipd"]) == [{"game": "bandit?seed=1..3"}, {"game": "ipd"}]


@pytest.mark.parametrize(
    ("texts", "samples", "message"),
    [
        (["lr"], None, "expected NAME=VALUE,VALUE to vary a setting, got 'lr'"),
        (["lr=0.1", "gamma=1", "lr=0.2"], None, "--vary lr is given twice"),
        (["lr=0.1..1"], None, "--vary lr is a range: add --samples N"),
        (["lr=0..1"], 2, "expected lr=LOW..HIGH with numbers above 0 to sample a setting, got 'lr=0..1'"),
        (["lr=1..0.1"], 2, "expected lr=LOW..HIGH"),
        (["lr=a..b"], 2, "expected lr=LOW..HIGH"),
        (["kl_target=none..1"], 2, "expected kl_target=LOW..HIGH"),
        (["minibatches=1.5..4"], 2, "expected minibatches=LOW..HIGH with whole numbers"),
        (GRID, 7, "--samples 7: --vary has only 6 different combinations"),
        (["seed=1,2"], None, "--vary seed: use --seeds instead"),
        (["lr=1,2", "optimizer=ppo"], None, "--vary optimizer: use --optimizers instead"),
        ([], 2, "--samples needs --vary"),
    ],
)
def test_mistakes_are_one_line(texts: list[str], samples: int | None, message: str) -> None:
    with pytest.raises(AgentError) as caught:
        combinations(texts, samples)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(ConfigError, match="did you mean 'q_lr'"):
        combinations(["qlr=1..2"], 2)


def swept(samples: int | None = None) -> dict[str, Any]:
    """Return committed results as if `lr` and `q_lr` had been varied, of which ppo has only `lr`."""
    stored: dict[str, Any] = json.loads((ROOT / "docs" / "bandit" / report.RESULTS).read_text())
    firsts = {row["optimizer"]: row for row in stored["runs"] if row["optimizer"] in ("ppo", "actde")}
    varied = ["lr=0.1..0.9", "q_lr=1,2"] if samples else ["lr=0.1,0.2", "q_lr=1,2"]
    planned = grid_runs(["ppo", "actde"], [0, 1], combinations(varied, samples), {})
    return {**stored, "runs": [{**firsts[run.optimizer], **run.to_json()} for run in planned]}


def test_the_report_has_a_column_for_each_setting(tmp_path: Path) -> None:
    found = swept()
    report.write(tmp_path, found["about"], found["runs"])
    text = (tmp_path / "README.md").read_text()
    assert json.loads((tmp_path / report.RESULTS).read_text())["runs"][1]["setting"] == ["lr", "q_lr"]
    header = next(line for line in text.splitlines() if line.startswith("| optimizer"))
    assert header.startswith("| optimizer | lr | q_lr | seed |")
    assert "| ppo | 0.1 |  | 0 |" in text and "| actde | 0.2 | 2 | 1 |" in text
    assert "| actde | 0.2 | 2 | 2 |" in text  # over seeds
    assert [*results.by_label(found["runs"])][:2] == ["ppo, lr 0.1", "actde, lr 0.1, q_lr 1"]


def lines_of(svg: Path) -> int:
    """Return the number of lines through several points in a figure."""
    root = ElementTree.fromstring(svg.read_text())
    paths = [part.get("d", "") for part in root.iter() if part.get("clip-path") and part.tag.endswith("path")]
    return sum(path.count("L") >= 1 for path in paths)


def test_the_figure_of_a_sweep_has_a_row_for_each_setting(tmp_path: Path) -> None:
    found = swept()
    report.write(tmp_path / "grid", found["about"], found["runs"])
    drawn = (tmp_path / "grid" / "sweep.svg").read_text()
    assert drawn.count("<!-- lr -->") == drawn.count("<!-- q_lr -->") == 2
    assert "<!-- ppo, sampled -->" in drawn  # the dotted line of q_lr, and dots along lr
    sample = swept(5)
    report.write(tmp_path / "sample", sample["about"], sample["runs"])
    grid_lines, sample_lines = (lines_of(tmp_path / name / "sweep.svg") for name in ("grid", "sample"))
    assert 0 < sample_lines < grid_lines  # values that occur once are not connected
