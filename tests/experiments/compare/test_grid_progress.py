"""A comparison shows the iterations of its runs while they train, and its table at the end."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any, Self

import numpy as np
import pytest

from agents.protocol import AgentError
from agents.storage.run_folder import METRICS, SETTINGS
from experiments.compare import grid, report, runs
from games import cluster_pool
from terminal import comparison
from tests import ROOT
from tests.terminal.test_display import drawn

GIVEN = {"game": "bandit", "iterations": 4}


class Threads(ThreadPoolExecutor):
    """A pool of threads in place of processes."""

    restarts = False

    def __init__(self, size: int) -> None:
        super().__init__(size)

    def __enter__(self) -> Self:
        return self


def test_the_bar_moves_with_the_iterations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, seen = list[tuple[int, int, int]](), Event()

    def train(run: runs.GridRun, config: Any, root: Path, *words: Any) -> dict[str, Any]:
        (root / run.name).mkdir(parents=True)
        (root / run.name / METRICS).write_text("{}\n{}\n{}\n")
        if run.optimizer == "actde":
            assert seen.wait(20)
        return {"name": run.name}

    def on_progress(*numbers: int) -> None:
        shown.append(numbers)  # type: ignore[arg-type]
        if numbers[1] == 4 + 3:  # the first run has stopped early, and the second is half-way
            seen.set()

    monkeypatch.setattr(cluster_pool, "WorkerPool", Threads)
    monkeypatch.setattr(grid, "_train", train)
    configs = grid.check(runs.grid_runs(["ppo", "actde"], [0], [{}], GIVEN), GIVEN)
    grid.run_grid(configs, tmp_path, episodes=1, workers=2, on_run=lambda row: None, on_progress=on_progress)
    assert (1, 7, 8) in shown and shown[-1] == (2, 8, 8)


def test_a_folder_of_another_comparison_is_refused_before_any_run_starts(tmp_path: Path) -> None:
    wanted = runs.grid_runs(["ppo", "actde"], [0], [{}], GIVEN)
    other = grid.check(wanted, {**GIVEN, "game": "ipd"})[wanted[1]]
    folder = tmp_path / wanted[1].name
    folder.mkdir()
    (folder / SETTINGS).write_text(other.model_dump_json())
    shown = list[Any]()
    with pytest.raises(AgentError) as error:
        grid.run_grid(grid.check(wanted, GIVEN), tmp_path, episodes=1, workers=1, on_run=shown.append)
    differs = f"{folder} was made with --game 'ipd', not 'bandit'"
    assert str(error.value) == f"{differs}; give the same settings, or another --out"
    assert not shown


def test_fewer_iterations_than_finished_are_refused_before_any_run_starts(tmp_path: Path) -> None:
    wanted = runs.grid_runs(["ppo", "actde"], [0], [{}], GIVEN)
    folder = tmp_path / wanted[1].name
    checkpoint = folder / "checkpoints" / "000004"
    checkpoint.mkdir(parents=True)
    (checkpoint / "agent.json").touch()
    (folder / SETTINGS).write_text(grid.check(wanted, GIVEN)[wanted[1]].model_dump_json())
    fewer = grid.check(wanted, {**GIVEN, "iterations": 2})
    with pytest.raises(AgentError) as error:
        grid.run_grid(fewer, tmp_path, episodes=1, workers=1, on_run=lambda row: None)
    finished = f"the run in {folder} has finished 4 iterations: expected --iterations 4 or more, got 2"
    assert str(error.value) == f"{finished}; give the same settings, or another --out"
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_the_folder_of_a_run_is_no_folder_of_a_comparison(tmp_path: Path) -> None:
    report, run = tmp_path / "report", tmp_path / "run"
    run.mkdir()
    (run / SETTINGS).write_text("{}")
    comparison.check_folders(report, report / "runs")
    with pytest.raises(AgentError, match="run holds a run; choose another --out"):
        comparison.check_folders(run, run / "runs")
    with pytest.raises(AgentError, match="run holds a run; choose another --runs"):
        comparison.check_folders(report, run)


def test_a_longer_earlier_run_counts_as_complete(tmp_path: Path) -> None:
    [(run, config)] = grid.check(runs.grid_runs(["ppo"], [0], [{}], GIVEN), GIVEN).items()
    (tmp_path / run.name).mkdir()
    (tmp_path / run.name / METRICS).write_text("{}\n" * 9)
    assert grid._count_iterations({run: config}, [run], tmp_path, ()) == (4, 4)


def test_in_a_pipe_the_progress_is_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter([0, 0.5, 2, 5, 40])
    monkeypatch.setattr("terminal.console.time.monotonic", lambda: next(clock))
    with comparison.progress(2) as progress:
        for done in (0, 10, 50, 1_000):
            progress(1, done, 2_000)
    assert capsys.readouterr().err.splitlines() == [
        "compare: 1 of 2 runs, 10 of 2,000 iterations, 0%, 7 min left",
        "compare: 1 of 2 runs, 1,000 of 2,000 iterations, 50%, 1 min left",
    ]


@pytest.mark.parametrize("width", [60, 120])
@pytest.mark.parametrize("name", ["compare-coin", "bandit"])
def test_it_ends_with_a_table_of_the_optimizers(name: str, width: int) -> None:
    rows = json.loads((ROOT / "docs" / name / report.RESULTS).read_text())["runs"]
    shown = drawn(comparison.results_table(rows), width)
    assert max(map(len, shown.splitlines())) <= width
    assert shown.split()[:6] == ["agent", "runs", "won", "greedy", "score", "entropy"]
    [ppo] = [line.split() for line in shown.splitlines() if line.startswith("ppo  ")]
    runs = [row["evaluation"]["sampled"] for row in rows if row["optimizer"] == "ppo"]
    won, entropy = (np.mean([run[field]["value"] for run in runs]) for field in ("success_rate", "entropy"))
    assert (ppo[1], ppo[2], ppo[-1]) == (str(len(runs)), f"{won:.0%}", f"{entropy:.2f}")


def test_a_game_that_cannot_be_won_is_compared_by_its_reward() -> None:
    mean = {"value": 2.5, "low": 2.0, "high": 3.0}
    sampled = {"normalized_score": None, "success_rate": None, "reward": mean, "entropy": mean}
    row = {"optimizer": "ppo", "setting": None, "value": None, "evaluation": {"sampled": sampled}, "collapse": {}}
    shown = drawn(comparison.results_table([row]), 80)
    assert "reward" in shown and "+2.50" in shown and "won" not in shown
