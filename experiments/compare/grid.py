"""A grid of training runs (cells.py), each trained once and measured alike.

Runs are folders under `runs`; a run that is finished is not made again and one that was interrupted goes on,
so a grid may be made in pieces. Every finished run is measured once (measure.py). Leaves out tables and figures
(report.py).
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

import games
from actde import make_optimizer
from agents.config import TrainConfig
from agents.storage.run_folder import SETTINGS, read_config, read_metrics
from agents.training import presets
from experiments.compare.measure import Measures, kept, measures
from experiments.compare.runs import Cell
from games.worker_pool import WorkerPool

CURVES = (
    "iteration",
    "episodes",
    "env_steps",
    "seconds",
    "success",
    "recent_success",
    "level",
    "agreement",
    "kept",
    "reward",
    "normalized_score",
    "steps",
    "bonus_share",
    "turn_entropy",
    "value",
    "q_value",
    "advantage_abs",
)
"""Metrics of every iteration that results keep, and besides the shares of strategies (`share_NAME`)."""


def check(wanted: Sequence[Cell], given: Mapping[str, Any], tests: str = "") -> None:
    """Raise at once what a run or its measures would raise later: an unknown name or a bad value."""
    if tests:
        games.resolve(tests)
    for cell in wanted:
        config = presets.resolve(cell.asked(given))
        games.resolve(config.run.game)
        make_optimizer(config.run.optimizer, config.optimizer)


def run_grid(
    wanted: Sequence[Cell],
    given: Mapping[str, Any],
    runs: Path,
    *,
    episodes: int,
    tests: str = "",
    workers: int,
    on_run: Callable[[dict[str, Any]], None],
) -> list[dict[str, Any]]:
    """Make every run of a grid, `workers` at a time, each in a process of its own with its share of the cores.

    Args:
        episodes, tests: how finished agents are measured, see `measures`.
        on_run: told of every finished run, in the order in which they finish.

    Returns:
        What `run_cell` returns, in the order of `wanted`.
    """
    how: dict[str, Any] = {"episodes": episodes, "tests": tests}
    found = {cell: row for cell in wanted if (row := finished(cell, given, runs, **how)) is not None}
    for row in found.values():
        on_run(row)
    missing = [cell for cell in wanted if cell not in found]
    if missing:
        threads = max(1, len(os.sched_getaffinity(0)) // workers)
        with WorkerPool(workers) as pool:
            jobs = {pool.submit(_run_on, threads, cell, dict(given), runs, **how): cell for cell in missing}
            for job in as_completed(jobs):
                found[jobs[job]] = job.result()
                on_run(found[jobs[job]])
    return [found[cell] for cell in wanted]


def _run_on(threads: int, cell: Cell, given: Mapping[str, Any], runs: Path, **how: Any) -> dict[str, Any]:
    """`run_cell` in a worker, with its share of the cores."""
    import torch

    torch.set_num_threads(threads)
    return run_cell(cell, given, runs, **how)


def finished(
    cell: Cell, given: Mapping[str, Any], runs: Path, *, episodes: int, tests: str = ""
) -> dict[str, Any] | None:
    """What `run_cell` would return of a run that is trained with these settings and measured; None where not."""
    config = presets.resolve(cell.asked(given))
    folder = runs / cell.name
    if not (folder / SETTINGS).is_file():
        return None
    if read_config(folder) != config:
        return None
    measured = kept(folder, episodes=episodes, tests=tests)
    return None if measured is None else _row(cell, config, folder, measured)


def run_cell(
    cell: Cell,
    given: Mapping[str, Any],
    runs: Path,
    *,
    episodes: int,
    tests: str = "",
) -> dict[str, Any]:
    """Train one run, or go on with it, and measure it.

    Args:
        given: settings of every run of the grid that are not the defaults.
        episodes, tests: how the finished agent is measured, see `measures`.

    Returns:
        The run's settings, learning curves and measures; JSON-able.
    """
    from agents.training.factory import make_trainer

    config = presets.resolve(cell.asked(given))
    folder = runs / cell.name
    trainer = make_trainer(config, folder, resume=(folder / SETTINGS).is_file())
    for _ in trainer.run():
        pass
    measured = measures(folder, config, episodes=episodes, tests=tests)
    return _row(cell, config, folder, measured)


def _row(cell: Cell, config: TrainConfig, folder: Path, measured: Measures) -> dict[str, Any]:
    lines = read_metrics(folder)
    shares = tuple(name for name in lines[0] if name.startswith("share_"))
    return {
        "name": cell.name,
        "optimizer": cell.optimizer,
        "seed": cell.seed,
        "setting": cell.setting,
        "value": cell.value,
        "settings": config.model_dump(),
        "curves": {name: [_rounded(line.get(name)) for line in lines] for name in CURVES + shares if name in lines[0]},
        **measured,
    }


def _rounded(value: float | None) -> float | None:
    """Six digits are more than a figure shows."""
    return value if value is None or isinstance(value, int) else float(f"{value:.6g}")
