"""Train each cell (combination of settings) of an experiment with several seeds."""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import Annotated, Any, NotRequired

import typer
from typing_extensions import TypedDict

from agents.config import TrainConfig
from agents.protocol import AgentError
from agents.storage.checkpoint_files import checkpoints
from agents.storage.run_folder import PROBES, read_config, read_metrics
from agents.threads import threads_per_process
from agents.training import presets
from experiments.compare import grid
from games.files import atomic_write, exclusive
from games.untrusted_files import read_json
from games.worker_pool import WorkerPool

Out = Annotated[Path, typer.Option(help="folder of the results and of the page")]
Folder = Annotated[Path, typer.Option("--runs", help="folder of the runs")]
Workers = Annotated[int, typer.Option(min=0, help="parallel runs; 0 only reports finished ones")]
# Metrics that the results of a run contain for each rollout
CURVES = ("reward", "entropy", "kl_ref", "explained_variance_q", "advantage_abs", "grad_norm")
DIGITS = 5  # significant digits of the numbers in the results
Cells = Mapping[str, Mapping[str, Any]]  # name of a cell -> its settings, without those that all cells share


class StoredMetadata(TypedDict):
    """Metadata in a results file."""

    common: dict[str, Any]
    cells: dict[str, dict[str, Any]]
    reward_models: NotRequired[dict[str, dict[str, Any]]]


class StoredRun(TypedDict):
    """A run in a results file. `reward_model` is the digest of the reward model's weights."""

    cell: str
    seed: int
    reward_model: NotRequired[str]


class StoredRuns(TypedDict):
    """The content of a results file."""

    about: StoredMetadata
    runs: list[StoredRun]


def complete(
    path: Path,
    cells: Cells,
    common: Mapping[str, Any],
    seeds: Sequence[int],
    root: Path,
    *,
    workers: int,
    on_run: Callable[[], None],
    reward_model: Mapping[str, Any] | None = None,
) -> None:
    """Train runs that are missing from the file `path` or have changed settings. Call `on_run` after each write."""
    metadata: dict[str, Any] = {"common": common}
    digest = reward_model["files"]["model.safetensors"] if reward_model else ""
    with exclusive(path.parent, path.name, path.with_suffix(".md").name):
        rows: dict[str, Any] = {}
        if path.is_file():
            stored = read_json(path, StoredRuns, error=AgentError)
            if stored["about"]["common"] != common:
                raise AgentError(f"{path} holds results with other common settings; move the file away")
            unchanged_cells = {name for name, cell in stored["about"]["cells"].items() if cells.get(name) == cell}
            rows = {f"{row['cell']}-seed{row['seed']}": row for row in stored["runs"] if row["cell"] in unchanged_cells}
            metadata["reward_models"] = stored["about"].get("reward_models", {})
        configs = resolve(cells, common, seeds)
        if reward_model:
            metadata["reward_models"] = metadata.get("reward_models", {}) | {digest: reward_model}
            incomplete_seeds = {config.run.seed for name, config in configs.items() if name not in rows}
            for name, row in list(rows.items()):
                if row.get("reward_model") != digest and row["seed"] in incomplete_seeds:  # train the whole seed again
                    del rows[name]
            root /= digest[:8]  # runs of another reward model are neither adopted nor resumed

        def write(name: str) -> None:
            rows[name] = results_of(root / name) | ({"reward_model": digest} if digest else {})
            finished = [rows[name] for name in configs if name in rows]
            results = {"about": {"seeds": list(seeds), **metadata, "cells": cells}, "runs": finished}
            atomic_write(path, json.dumps(results, allow_nan=False) + "\n")
            on_run()

        if rows:
            on_run()
        for name, config in configs.items():
            if name not in rows and is_finished(root / name, config):
                write(name)
        if workers:
            train({name: config for name, config in configs.items() if name not in rows}, root, workers, write)


def resolve(cells: Cells, common: Mapping[str, Any], seeds: Sequence[int]) -> dict[str, TrainConfig]:
    """Return a dict: run name -> run configuration."""
    import experiments.rlhf.controls  # noqa: F401  # registers its optimizers

    return {
        f"{name}-seed{seed}": presets.resolve({**common, **settings, "seed": seed})
        for seed in seeds
        for name, settings in cells.items()
    }


def train_run(config: TrainConfig, folder: Path, threads: int, on_rollout: Callable[[], None] = lambda: None) -> None:
    """Start or resume a run."""
    import experiments.rlhf.controls  # noqa: F401

    grid.train_run(config, folder, threads, on_rollout)


def train(
    configs: Mapping[str, TrainConfig],
    root: Path,
    workers: int,
    on_run: Callable[[str], None],
    job: Callable[[TrainConfig, Path, int], None] = train_run,
) -> None:
    """Start or resume runs in `workers` processes. `job` must be picklable."""
    threads = threads_per_process(workers)
    run_in_processes(job, {name: (config, root / name, threads) for name, config in configs.items()}, workers, on_run)


def run_in_processes(
    job: Callable[..., None],
    arguments_by_name: Mapping[str, Sequence[Any]],
    workers: int,
    on_run: Callable[[str], None],
) -> None:
    """Call `job` once per entry of `arguments_by_name`, in `workers` processes. `job` must be picklable."""
    with WorkerPool(workers) as pool:
        names = {pool.submit(job, *arguments): name for name, arguments in arguments_by_name.items()}
        for future in as_completed(names):
            future.result()
            on_run(names[future])


def is_finished(folder: Path, config: TrainConfig) -> bool:
    saved_iterations = (
        int(checkpoint.name) for checkpoint in checkpoints(folder)
    )  # training writes the last one at the very end
    return config.budget.iterations in saved_iterations and read_config(folder) == config


def results_of(folder: Path) -> dict[str, Any]:
    """Return the metrics of a run, and the probes (measurements during training)."""
    metrics = read_metrics(folder)
    probes = [
        {key: grid.rounded(value, DIGITS) if isinstance(value, float) else value for key, value in probe.items()}
        for probe in read_metrics(folder, PROBES)
    ]
    for probe in probes[1:-1]:
        del probe["texts"]
    cell, _, seed = folder.name.rpartition("-seed")
    curves = {key: [grid.rounded(row.get(key), DIGITS) for row in metrics] for key in CURVES if key in metrics[0]}
    return {"cell": cell, "seed": int(seed), "curves": curves, "probes": probes}
