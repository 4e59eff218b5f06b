"""Results of cells over seeds: which runs count as finished, and results with other settings are never mixed."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from agents.protocol import AgentError
from agents.storage.run_folder import PROBES, read_metrics
from experiments.rlhf import runs
from tests.helpers.preferences import save_trunk

CELLS: dict[str, dict[str, Any]] = {"one": {"optimizer": "actde"}, "two": {"optimizer": "ppo", "lr": 0.01}}
MODEL = {"pairs": 9, "files": {"model.safetensors": "0a"}}


class Experiment:
    """Two cells with a tiny trunk."""

    def __init__(self, folder: Path) -> None:
        (folder / "prompts.txt").write_text("you see a\ngo\n")
        self.path, self.root, self.written = folder / "results.json", folder / "runs", 0
        self.common: dict[str, Any] = {"game": "completion?max_tokens=3&reward=length", "reward_scale": 0.1}
        self.common |= {"trunk": str(save_trunk(folder / "trunk")), "probe_prompts": str(folder / "prompts.txt")}
        self.common |= {"episodes": 2, "minibatches": 1, "iterations": 2, "probe_every": 1, "save_every": 1}

    def train(self, cells: runs.Cells = CELLS, seeds: tuple[int, ...] = (7,), *, digest: str = "0a") -> None:
        for name, config in runs.resolve(cells, self.common, seeds).items():
            runs.train_run(config, self.root / digest / name, 1)

    def report(self, cells: runs.Cells = CELLS, seeds: tuple[int, ...] = (7,), **changes: Any) -> dict[str, Any]:
        """Add the finished runs to the results, and return all. `changes` are common settings or the reward model."""
        model = changes.pop("reward_model", MODEL)
        common = {**self.common, **changes}
        runs.complete(self.path, cells, common, seeds, self.root, workers=0, on_run=self.count, reward_model=model)
        stored: dict[str, Any] = json.loads(self.path.read_text()) if self.path.exists() else {"runs": []}
        return stored

    def count(self) -> None:
        self.written += 1


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return Experiment(tmp_path)


def names(results: dict[str, Any]) -> list[tuple[str, int]]:
    return [(row["cell"], row["seed"]) for row in results["runs"]]


def test_results_hold_the_settings_and_the_rounded_curves(experiment: Experiment) -> None:
    experiment.train()
    results = experiment.report()
    models = {"0a": MODEL}
    assert results["about"] == {"seeds": [7], "reward_models": models, "common": experiment.common, "cells": CELLS}
    assert {row["reward_model"] for row in results["runs"]} == {"0a"}
    assert names(results) == [("one", 7), ("two", 7)] and experiment.written == 2
    folder = experiment.root / "0a" / "one-seed7"
    lines, probes, row = read_metrics(folder), read_metrics(folder, PROBES), results["runs"][0]
    assert row["curves"]["entropy"] == [pytest.approx(line["entropy"], rel=1e-4) for line in lines]
    assert row["curves"].keys() <= set(runs.CURVES) and "grad_norm" in row["curves"]
    assert all(len(f"{x:.12g}".replace(".", "").strip("-0")) <= 5 for x in row["curves"]["entropy"])
    assert [probe["iteration"] for probe in row["probes"]] == [0, 1, 2]
    assert ["texts" in probe for probe in row["probes"]] == [True, False, True]
    assert row["probes"][2]["texts"] == probes[2]["texts"]
    assert experiment.report() == results and experiment.written == 3, "only the page is written again"


def test_seeds_are_ordered_and_added(experiment: Experiment) -> None:
    experiment.train(seeds=(8,))
    assert names(experiment.report(seeds=(7, 8))) == [("one", 8), ("two", 8)]
    experiment.train({"two": CELLS["two"]}, seeds=(7,))
    assert names(experiment.report(seeds=(7, 8))) == [("two", 7), ("one", 8), ("two", 8)]


@pytest.mark.parametrize("changes", [{"iterations": 3}, {"reward_scale": 0.2}, {"judge": "length"}])
def test_results_with_other_settings_are_refused_and_kept(experiment: Experiment, changes: dict[str, Any]) -> None:
    experiment.train()
    experiment.report()
    before = experiment.path.read_bytes()
    with pytest.raises(AgentError, match="holds results with other common settings; move the file away") as caught:
        experiment.report(**changes)
    assert "\n" not in str(caught.value)
    assert experiment.path.read_bytes() == before and experiment.written == 2


def test_runs_of_a_seed_share_a_reward_model(experiment: Experiment) -> None:
    """A new reward model repeats the incomplete seed 8, and keeps the complete seed 7."""
    other = MODEL | {"files": {"model.safetensors": "0b"}}
    experiment.train()
    experiment.train({"one": CELLS["one"]}, seeds=(8,))
    assert names(experiment.report(seeds=(7, 8))) == [("one", 7), ("two", 7), ("one", 8)]
    experiment.train({"two": CELLS["two"]}, seeds=(8,), digest="0b")
    results = experiment.report(seeds=(7, 8), reward_model=other)
    assert [(*name, row["reward_model"]) for name, row in zip(names(results), results["runs"], strict=True)] == [
        ("one", 7, "0a"),
        ("two", 7, "0a"),
        ("two", 8, "0b"),
    ]
    assert results["about"]["reward_models"] == {"0a": MODEL, "0b": other}


def test_a_cell_whose_settings_have_changed_never_keeps_its_earlier_runs(experiment: Experiment) -> None:
    experiment.train()
    before = experiment.report()
    changed = {"one": {"optimizer": "actde", "lr": 0.02}, "two": CELLS["two"], "new": {"optimizer": "grpo"}}
    changed["new"] |= {"group_size": 2}
    assert experiment.report(changed) == before, "the results still name the settings of their runs"
    experiment.train({"new": changed["new"]})
    results = experiment.report(changed)
    assert names(results) == [("two", 7), ("new", 7)]
    assert results["about"]["cells"] == changed


def test_only_complete_runs_with_the_same_settings_are_finished(experiment: Experiment) -> None:
    (wanted,) = runs.resolve({"one": CELLS["one"]}, experiment.common, [7]).values()
    folder = experiment.root / "0a" / "one-seed7"
    assert not runs.is_finished(folder, wanted)
    experiment.train({"one": CELLS["one"]})
    assert runs.is_finished(folder, wanted)
    assert not runs.is_finished(folder, wanted.replace(lr=0.5))
    assert not runs.is_finished(folder, wanted.replace(seed=8))
    shutil.rmtree(folder / "checkpoints" / "000002")
    assert not runs.is_finished(folder, wanted), "it was killed between its last probe and its last checkpoint"
    assert names(experiment.report({"one": CELLS["one"]})) == []


@pytest.mark.parametrize("torn", [0, 9])
def test_a_run_that_was_killed_while_it_wrote_a_probe_is_continued(experiment: Experiment, torn: int) -> None:
    one = {"one": CELLS["one"]}
    experiment.train(one)
    whole = experiment.report(one)["runs"]
    experiment.path.unlink()
    folder = experiment.root / "0a" / "one-seed7"
    shutil.rmtree(folder / "checkpoints" / "000002")
    *probes, last = (folder / PROBES).read_text().splitlines(keepends=True)
    (folder / PROBES).write_text("".join(probes) + last[:torn])
    assert experiment.report(one)["runs"] == []
    experiment.train(one)
    assert experiment.report(one)["runs"] == whole
