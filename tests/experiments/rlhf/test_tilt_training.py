"""Measurements in the course of training: they change no run, and an interrupted command repeats none of them."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from agents.config import TrainConfig
from agents.protocol import AgentError
from agents.storage.run_folder import read_metrics
from agents.training import presets
from experiments.compare import grid
from experiments.rlhf import runs, tilt, tilt_measures
from experiments.rlhf.tilt_measures import MEASURES, WEIGHTINGS
from tests.helpers.preferences import save_trunk

LAST = Path("checkpoints", "000004")
TIMES = ("seconds", "rollout_seconds", "update_seconds", "steps_per_second", "tokens_per_second", "peak_memory")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    """The configuration of ACTDE with a tiny trunk and dropout, which is measured after two and four rollouts."""
    (tmp_path / "prompts.txt").write_text("you see a\ngo\ntake\n")
    common: dict[str, Any] = {
        "game": "completion?max_tokens=6&reward=letter:r",
        "trunk": str(save_trunk(tmp_path / "trunk")),
    }
    common |= {"dtype": "float32", "context": 64, "iterations": 4, "save_every": 2, "seed": 3, "dropout": 0.1}
    common |= {"episodes": 2, "parallel": 2, "minibatches": 1, "epochs": 1, "rollout_dropout": True}
    monkeypatch.setattr(tilt, "MEASURED_ROLLOUTS", (2, 4))
    monkeypatch.setattr(tilt, "PROMPTS", str(tmp_path / "prompts.txt"))
    monkeypatch.setattr(tilt, "COMMON", common)
    monkeypatch.setattr(tilt_measures, "LIKELIEST", 20)
    monkeypatch.setattr(tilt_measures, "TEXTS_PER_TOKEN", 8)
    return presets.resolve({**common, **tilt.CELLS["actde"]})


def run_of(folder: Path) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """Return the metrics of a run without times, and the files of its last checkpoint, one of which is random state."""
    lines = [{key: x for key, x in line.items() if key not in TIMES} for line in read_metrics(folder)]
    files = {path.name: path.read_bytes() for path in (folder / LAST).glob("*.safetensors")}
    return lines, files


def test_a_run_is_the_same_with_and_without_measurements(tmp_path: Path, config: TrainConfig) -> None:
    runs.train_run(config, tmp_path / "without", 1)
    tilt.train_and_measure(config, tmp_path / "with", 1)
    lines, files = run_of(tmp_path / "with")
    assert (lines, files) == run_of(tmp_path / "without")
    assert len(lines) == 4 and files.keys() == {"model.safetensors", "training.safetensors"}
    measures = json.loads((tmp_path / "with" / tilt.RESULTS).read_text())
    assert measures.keys() == {"2", "4"} and measures["2"] != measures["4"]


def test_an_interrupted_command_repeats_no_measurement(
    tmp_path: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ends twice, before it has measured each of the two checkpoints."""
    tilt.train_and_measure(config, tmp_path / "whole", 1)
    measured, measure = list[str](), tilt_measures.measure

    def killed(checkpoint: Path, *_: Any) -> Any:
        raise KeyboardInterrupt(checkpoint.name)

    def counted(checkpoint: Path, *args: Any) -> dict[str, Any]:
        measured.append(checkpoint.name)
        return measure(checkpoint, *args)

    def killed_at_the_last(checkpoint: Path, *args: Any) -> dict[str, Any]:
        return (killed if checkpoint.name == LAST.name else counted)(checkpoint, *args)

    for stage in (killed, killed_at_the_last):
        monkeypatch.setattr(tilt, "measure", stage)
        with pytest.raises(KeyboardInterrupt):
            tilt.train_and_measure(config, tmp_path / "run", 1)
    monkeypatch.setattr(tilt, "measure", counted)
    monkeypatch.setattr(grid, "note", lambda line: None)
    tilt.train_and_measure(config, tmp_path / "run", 1)
    tilt.train_and_measure(config, tmp_path / "run", 1)
    assert measured == ["000002", "000004"]
    assert run_of(tmp_path / "run") == run_of(tmp_path / "whole")
    first, second = (json.loads((tmp_path / name / tilt.RESULTS).read_text()) for name in ("run", "whole"))
    assert first == second


def test_a_run_whose_checkpoints_are_gone_is_refused(tmp_path: Path, config: TrainConfig) -> None:
    runs.train_run(config.replace(save_every=1), tmp_path / "run", 1)
    with pytest.raises(AgentError, match="run was not measured after 2 rollouts; choose another --runs"):
        tilt.train_and_measure(config, tmp_path / "run", 1)


def measures(r2: float) -> dict[str, Any]:
    fit = {"slope": 3.0, "r2": r2, "spread_q": 0.25, "spread_log_ratio": 1.5}
    estimate = {"value": 0.1, "low": 0.0, "high": 0.2}
    return {
        **dict.fromkeys(WEIGHTINGS, fit),
        "monte_carlo": {"states": 16, **dict.fromkeys(MEASURES, estimate)},
    }


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the training by measures of 0.5 for all rollouts, and return a list of the names of the trained runs."""
    names = list[str]()

    def train(configs: dict[str, Any], root: Path, workers: int, on_run: Any, job: Any) -> None:
        assert job is tilt.train_and_measure and workers == 2
        for name in configs:
            names.append(name)
            store(root / name, dict.fromkeys(tilt.MEASURED_ROLLOUTS, 0.5))
            on_run(name)

    monkeypatch.setattr(runs, "train", train)
    return names


def store(folder: Path, r2: dict[int, float]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / tilt.RESULTS).write_text(json.dumps({str(n): measures(x) for n, x in r2.items()}))


def rows_of(out: Path) -> list[tuple[str, int, float | None]]:
    results = json.loads((out / tilt.RESULTS).read_text())
    assert results["about"] == {"common": tilt.COMMON, "cells": tilt.CELLS}
    return [(row["run"], row["rollouts"], row["sampled"]["r2"]) for row in results["rows"]]


def test_only_missing_runs_are_trained(tmp_path: Path, trained: list[str]) -> None:
    """Measures of an incomplete run are reported. Those of its folder replace stored ones, unless they are fewer."""
    out, folder = tmp_path / "out", tmp_path / "runs"
    store(folder / "ppo", {10: 0.1, 20: 0.2})
    tilt.main(out, folder, 0)
    assert rows_of(out) == [("ppo", 10, 0.1), ("ppo", 20, 0.2)] and not trained
    assert "| ppo | 20 | 0.200 (3.00) |" in (out / "tilt.md").read_text()
    store(folder / "ppo", {10: 0.3})
    tilt.main(out, folder, 0)
    assert rows_of(out) == [("ppo", 10, 0.1), ("ppo", 20, 0.2)]
    store(folder / "ppo", {10: 0.3, 20: 0.4})
    tilt.main(out, folder, 0)
    assert rows_of(out) == [("ppo", 10, 0.3), ("ppo", 20, 0.4)]
    tilt.main(out, folder, 2)
    assert trained == ["actde", "ppo"]
    complete = [(name, n, 0.5) for name in ("actde", "ppo") for n in (10, 20, 30, 40)]
    assert rows_of(out) == complete
    page = (out / "tilt.md").read_text()
    assert "| actde | 40 | 0.500 (3.00) | 0.500 (3.00) | 0.500 (3.00) | 0.250 | 1.500 |" in page
    assert page.count("| 16 | 0.100 (0.000 to 0.200) | 0.10 (0.00 to 0.20) |") == 8
    assert "* `ppo`: `--optimizer ppo`, `--train-q True`" in page and "`--seed 1000`" in page
    assert (out / "tilt.svg").read_text().count("<svg") == 1
    store(folder / "ppo", {10: 0.9})
    (out / "tilt.md").unlink()
    tilt.main(out, folder, 2)
    assert trained == ["actde", "ppo"] and rows_of(out) == complete
    assert (out / "tilt.md").read_text() == page


def test_undefined_correlations_are_stored_and_leave_their_cells_empty(
    tmp_path: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    undefined = measures(math.nan)
    undefined["monte_carlo"]["correlation"] = dict.fromkeys(("value", "low", "high"), math.nan)
    (tmp_path / "actde" / "checkpoints" / "000002").mkdir(parents=True)
    (tmp_path / "actde" / "checkpoints" / "000002" / "agent.json").touch()
    monkeypatch.setattr(tilt, "measure", lambda *_: undefined)
    tilt.measure_checkpoints(config, tmp_path / "actde")
    tilt.main(tmp_path, tmp_path, 0)
    assert rows_of(tmp_path) == [("actde", 2, None)]
    page = (tmp_path / "tilt.md").read_text()
    assert "| actde | 2 | | | | 0.250 | 1.500 |" in " ".join(page.split())
    assert "| actde | 2 | 16 | 0.100 (0.000 to 0.200) | | 0.10 (0.00 to 0.20) |" in " ".join(page.split())


def test_results_and_runs_with_other_settings_are_refused(
    tmp_path: Path, trained: list[str], config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, folder = tmp_path / "out", tmp_path / "runs"
    (folder / "ppo").mkdir(parents=True)
    (folder / "ppo" / "settings.json").write_text(config.model_dump_json())
    with pytest.raises(AgentError, match="ppo was made with --optimizer 'actde', not 'ppo'; choose another --runs"):
        tilt.main(out, folder, 2)
    assert not trained and not (out / tilt.RESULTS).exists()
    tilt.main(out, tmp_path / "others", 2)
    monkeypatch.setattr(tilt, "COMMON", tilt.COMMON | {"seed": 4})
    before = (out / tilt.RESULTS).read_bytes()
    with pytest.raises(AgentError, match=r"tilt\.json holds results with other settings; move the file away"):
        tilt.main(out, folder, 2)
    assert (out / tilt.RESULTS).read_bytes() == before
