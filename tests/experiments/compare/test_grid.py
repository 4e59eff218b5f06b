"""The runs of a grid, the values of `--vary`, and the figures and report of their results."""

import json
import re
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, Self
from xml.etree import ElementTree

import pytest

from actde.errors import ConfigError
from agents import AgentError
from agents.protocol import DivergenceError
from experiments.compare import grid, report, runs
from experiments.compare.figures import curves_figure, fits_log_scale, positions, sweep_figure
from experiments.compare.runs import combinations
from terminal import comparison
from tests import ROOT

BANDIT = ROOT / "docs" / "bandit" / report.RESULTS


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
def test_values_are_parsed_by_their_setting(text: str, values: list[Any]) -> None:
    found = combinations([text])
    assert found == [{text.partition("=")[0].replace("-", "_"): value} for value in values]
    given = {"game": "bandit", "kl_coef": 0.1}
    grid.check(runs.grid_runs(["actde"], [0], found, given), given)


def test_an_optimizer_may_have_settings_of_its_own() -> None:
    given = {"game": "bandit", "kl_coef": 0.5, "lr": 0.1}
    planned = runs.grid_runs(["ppo", "ppo+kl_coef=0+lr=0.2"], [3], [{}], given)
    assert [run.name for run in planned] == ["ppo-seed3", "ppo+kl_coef=0+lr=0.2-seed3"]
    common = {"game": "bandit", "optimizer": "ppo", "seed": 3}
    assert [run.explicit(given) for run in planned] == [
        {**common, "kl_coef": 0.5, "lr": 0.1},
        {**common, "kl_coef": 0, "lr": 0.2},
    ]


@pytest.mark.parametrize("optimizer", ["ppo+kl_coef", "ppo+kl_coef=1,2", "ppo+seed=3", "ppo+optimizer=actde"])
def test_malformed_settings_of_an_optimizer_are_refused(optimizer: str) -> None:
    with pytest.raises(AgentError, match=r"NAME=VALUE|NAME\+SETTING=VALUE"):
        runs.grid_runs([optimizer], [0], [{}], {})[0].explicit({})


@pytest.mark.parametrize("optimizer", ["ppo+kl_coef=1+kl_coef=2", "ppo+lr=0.1+kl_coef=1+lr=0.1", "ppo+lr=1+lr=2+lr=3"])
def test_a_setting_that_an_optimizer_gives_twice_is_refused(optimizer: str) -> None:
    with pytest.raises(AgentError, match=r"gives (kl_coef|lr) twice: leave out one"):
        runs.grid_runs([optimizer], [0], [{"gamma": 0.5}], {})[0].explicit({})


def test_a_varied_setting_overrides_no_setting_of_an_optimizer() -> None:
    given = {"game": "bandit"}
    for optimizer, setting in (("ppo+lr=0.2", "lr"), ("ppo+q_lr=0.2", "q_lr")):
        with pytest.raises(
            AgentError, match=f"--vary {setting} would override the {setting} of '{re.escape(optimizer)}'"
        ):
            grid.check(runs.grid_runs(["actde", optimizer], [0], [{setting: 0.1}], given), given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"guide_beta": -1.0}, "--guide-beta must be a number of at least 0, got -1"),
        ({"guide_beta": 1.0}, "--guide-beta needs q: give --train-q, because ppo trains none"),
        ({"data": "random:9"}, "ppo learns from its own play only: leave out --data"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_the_first_run(given: dict[str, Any], message: str) -> None:
    given = {"game": "bandit", **given}
    with pytest.raises(ConfigError, match=message):
        grid.check(runs.grid_runs(["ilql", "ppo"], [0], [{}], given), given)


def test_an_optimizer_without_q_has_one_run_where_a_setting_of_q_is_varied() -> None:
    both = ["ppo", "actde"]
    planned = runs.grid_runs(both, [0, 1], combinations(["q_lr=0.1,0.2"]), {})
    assert [(run.optimizer, run.to_json()["value"], run.seed) for run in planned] == [
        ("ppo", None, 0),
        ("actde", 0.1, 0),
        ("actde", 0.2, 0),
        ("ppo", None, 1),
        ("actde", 0.1, 1),
        ("actde", 0.2, 1),
    ]
    q_lrs = combinations(["q_lr=0.1,0.2"])
    assert len(runs.grid_runs(both, [0], combinations(["lr=0.1,0.2"]), {})) == 4
    assert len(runs.grid_runs(both, [0], q_lrs, {"train_q": True})) == 4  # q trains the trunk
    assert len(runs.grid_runs(["ppo+train_q=true"], [0], q_lrs, {})) == 2


def test_numbers_have_a_logarithmic_axis_and_words_one_of_indices() -> None:
    assert positions([3, 0.5, 3]) == {3: 3.0, 0.5: 0.5}
    assert positions(["ppo", "ilql", "ppo"]) == {"ppo": 0, "ilql": 1}
    assert positions([None, 0.1]) == {None: 0, 0.1: 1}
    assert positions([0, 0.1]) == {0: 0, 0.1: 1}  # a logarithmic axis cannot show 0
    assert positions([True, False]) == {True: 0, False: 1}
    assert fits_log_scale([3, 0.5])
    for values in (["ppo"], [None, 0.1], [0, 1], [False, True]):
        assert not fits_log_scale(values)


def varied(values: list[Any]) -> dict[str, Any]:
    """Return committed results as if a setting had been varied."""
    results: dict[str, Any] = json.loads(BANDIT.read_text())
    for place, row in enumerate(results["runs"]):
        row |= {"setting": "setting", "value": values[place // 2 % len(values)]}
    return results


def test_a_run_without_the_setting_is_a_line_across_the_sweep(tmp_path: Path) -> None:
    results = varied([0.01, 1])
    for row in results["runs"]:
        if row["optimizer"] == "ppo":
            row |= {"setting": None, "value": None}
    report.write(tmp_path, results["about"], results["runs"])
    text = (tmp_path / "README.md").read_text()
    assert "| ppo |  | 0 |" in text and "| actde | 0.01 | " in text and "None" not in text
    assert "<!-- ppo, sampled -->" in (tmp_path / "sweep.svg").read_text()


@pytest.mark.parametrize("values", [["ppo", "ilql"], [None, 0.1], [False, True], [0, 1], [0.01, 1]])
def test_a_report_on_any_values_is_written(tmp_path: Path, values: list[Any]) -> None:
    results = varied(values)
    report.write(tmp_path, results["about"], results["runs"])
    assert (tmp_path / "README.md").read_text() == report.markdown(json.loads((tmp_path / "results.json").read_text()))
    text = (tmp_path / "sweep.svg").read_text()
    for word in (value for value in values if isinstance(value, str)):
        assert f"<!-- {word} -->" in text
    sweep_figure(results["runs"], tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_text() == text


def test_all_curves_differ_in_colour_or_dashes(tmp_path: Path) -> None:
    """Also where an optimizer has several settings of its own."""
    (row, *_) = json.loads(BANDIT.read_text())["runs"]
    kinds = [(name, value) for name in ("ppo", "ppo+a=1", "ppo+a=2", "actde", "actde+a=1") for value in (1, 2, 3)]
    curves_figure(
        [{**row, "optimizer": name, "setting": "q_lr", "value": value} for name, value in kinds], tmp_path / "c.svg"
    )
    root = ElementTree.fromstring((tmp_path / "c.svg").read_text())
    (legend,) = (part for part in root.iter() if part.get("id") == "legend_1")
    looks = [
        part.get("style", "") for part in legend.iter() if part.tag.endswith("path") and part.get("clip-path") is None
    ]
    lines = [look for look in looks if "stroke: #" in look and "fill: none" in look]
    assert len(lines) == len(set(lines)) == len(kinds)


class Here:
    """Runs the jobs of a grid in this process, in place of `WorkerPool`."""

    restarts = False

    def __init__(self, size: int) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...

    def submit(self, job: Any, *words: Any) -> Future[Any]:
        future = Future[Any]()
        try:
            future.set_result(job(*words))
        except AgentError as error:
            future.set_exception(error)
        return future


@pytest.mark.parametrize("bad", [[0], [1], [0, 1, 2]])
def test_a_run_that_diverges_does_not_end_the_others(
    bad: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = json.loads((ROOT / "docs" / "simple-ppo" / "results.json").read_text())

    def train(run: runs.GridRun, *_: object) -> dict[str, Any]:
        if run.seed in bad:
            raise DivergenceError("the training diverged in iteration 3: v is not finite")
        return {**stored["runs"][0], "name": run.name, "seed": run.seed}

    monkeypatch.setattr("games.cluster_pool.WorkerPool", Here)
    monkeypatch.setattr(grid, "_train", train)
    configs = grid.check(runs.grid_runs(["ppo"], [0, 1, 2], [{}], {"game": "bandit"}), {"game": "bandit"})
    work = partial(grid.run_grid, configs, tmp_path, episodes=2, workers=1, on_run=lambda row: None)
    if len(bad) == 3:
        with pytest.raises(DivergenceError, match="iteration 3"):
            work()
        return
    rows, diverged = work()
    assert [row["seed"] for row in rows] == [seed for seed in range(3) if seed not in bad]
    assert [row["name"] for row in diverged] == [f"ppo-seed{seed}" for seed in bad]
    results = report.write(tmp_path, stored["about"], rows, diverged)
    text = (tmp_path / "README.md").read_text()
    assert f"| ppo | {bad[0]} | diverged |" in text
    assert f"`ppo-seed{bad[0]}`: the training diverged in iteration 3: v is not finite" in text
    with pytest.raises(SystemExit) as stopped:
        comparison.conclude(tmp_path, results, as_json=False)
    assert stopped.value.code == 1


def test_runs_that_learn_from_recorded_play_alone_have_no_curves_of_own_play(tmp_path: Path) -> None:
    results = json.loads((ROOT / "docs" / "simple-ppo" / "results.json").read_text())
    for row in results["runs"][1:]:
        for name in ("reward", "recent_success", "turn_entropy"):
            row["curves"].pop(name, None)
    assert report.headline(results["runs"][1]) == "ppo-seed1: trained on recorded play"
    report.write(tmp_path, results["about"], results["runs"])
    assert "| ppo | 1 |" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(("training", "evaluation"), [([0, 2, 1], 0), ([0, 0, 0], 4), ([1, 0, 0], 2)])
def test_failed_episodes_are_in_the_report(training: list[int], evaluation: int) -> None:
    results = json.loads((ROOT / "docs" / "simple-ppo" / "results.json").read_text())
    assert "failed" not in report.markdown(results) and "failed" not in report.headline(results["runs"][0])
    results["runs"][0]["curves"]["errors"] = training
    results["runs"][0]["evaluation"]["sampled"]["errors"] = evaluation
    assert f"| {sum(training)} | {evaluation} |" in report.markdown(results)
    assert "| failed episodes, training | failed episodes, evaluation |" in report.markdown(results)
    assert report.headline(results["runs"][0]).endswith(f", {sum(training) + evaluation} episodes failed")
