"""Train and measure a grid of runs. Each run is trained once, in its own folder.

Finished runs are skipped, and interrupted runs are resumed. Several successive commands can therefore complete one
grid.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

import games
from actde import make_optimizer
from agents.config import TrainConfig
from agents.storage.run_folder import SETTINGS, read_config, read_metrics
from agents.training import presets
from experiments.compare.measure import Measures, cached_measures, measure_run
from experiments.compare.runs import GridRun
from games.worker_pool import WorkerPool, available_cpus

CURVES = (
    "iteration", "episodes", "env_steps", "seconds", "success", "recent_success", "level", "agreement", "kept",
    "reward", "normalized_score", "steps", "bonus_share", "turn_entropy", "value", "q_value", "advantage_abs",
)  # fmt: skip
"""Metrics whose value at every iteration is stored in the results.

The shares of strategies (`share_NAME`) are stored in addition.
"""


def check(runs: Sequence[GridRun], common: Mapping[str, Any], tests: str = "") -> None:
    """Check all names and values, so that errors are raised before the first run starts."""
    if tests:
        games.resolve(tests)
    for run in runs:
        config = presets.resolve(run.explicit(common))
        games.resolve(config.run.game)
        make_optimizer(config.run.optimizer, config.optimizer)


def run_grid(
    runs: Sequence[GridRun],
    common: Mapping[str, Any],
    root: Path,
    *,
    episodes: int,
    tests: str = "",
    workers: int,
    on_run: Callable[[dict[str, Any]], None],
) -> list[dict[str, Any]]:
    """Complete every run of a grid in `workers` processes. The processes share the CPU cores equally.

    Args:
        common: the settings that all runs share and that are not defaults.
        root: the folder that contains the folders of the runs.
        episodes, tests: arguments of `measure_run`, which measures the finished agents.
        on_run: a function that is called with the row of each run as soon as the run is finished.

    Returns:
        One row for each run, in the order of `runs`. A row contains the run's settings, learning curves and measures.
            It can be stored as JSON.
    """
    rows: dict[GridRun, dict[str, Any]] = {}
    for run in runs:
        config, folder = presets.resolve(run.explicit(common)), root / run.name
        if (folder / SETTINGS).is_file() and read_config(folder) == config:
            measures = cached_measures(folder, episodes=episodes, tests=tests)
            if measures is not None:
                rows[run] = _row(run, config, folder, measures)
    for row in rows.values():
        on_run(row)
    missing = [run for run in runs if run not in rows]
    if missing:
        threads = max(1, available_cpus() // workers)
        with WorkerPool(workers) as pool:
            jobs = {pool.submit(_train, run, dict(common), root, episodes, tests, threads): run for run in missing}
            for job in as_completed(jobs):
                rows[jobs[job]] = job.result()
                on_run(rows[jobs[job]])
    return [rows[run] for run in runs]


def _train(
    run: GridRun, common: Mapping[str, Any], root: Path, episodes: int, tests: str, threads: int
) -> dict[str, Any]:
    """Train or resume one run in a worker process, measure the run, and return its row."""
    import torch

    from agents.training.factory import make_trainer

    torch.set_num_threads(threads)
    config, folder = presets.resolve(run.explicit(common)), root / run.name
    trainer = make_trainer(config, folder, resume=(folder / SETTINGS).is_file())
    for _ in trainer.run():
        pass
    return _row(run, config, folder, measure_run(folder, config, episodes=episodes, tests=tests))


def _row(run: GridRun, config: TrainConfig, folder: Path, measures: Measures) -> dict[str, Any]:
    lines = read_metrics(folder)
    shares = tuple(name for name in lines[0] if name.startswith("share_"))
    return {
        "name": run.name,
        "optimizer": run.optimizer,
        "seed": run.seed,
        "setting": run.setting,
        "value": run.value,
        "settings": config.model_dump(),
        "curves": {name: [_rounded(line.get(name)) for line in lines] for name in CURVES + shares if name in lines[0]},
        **measures,
    }


def _rounded(value: float | None) -> float | None:
    """Round a float to six significant digits. No figure needs more precision."""
    return value if value is None or isinstance(value, int) else float(f"{value:.6g}")
