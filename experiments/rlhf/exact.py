"""Exact experiments: SmolLM2 on bandits, where every expectation and every KL is a sum over the arms.

python -m experiments.rlhf.exact --out docs/rlhf --runs RUNS --workers 1

The same command continues after an interruption. `--workers 0` only writes the report of earlier runs. The report
states the total time of all runs.
"""

import json
import time
from concurrent.futures import as_completed
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from agents.protocol import AgentError
from experiments import program
from experiments.compare.grid import rounded
from experiments.rlhf.exact_contrasts import CELLS, ROLLOUTS, SEEDS
from games.files import atomic_write, exclusive
from games.untrusted_files import read_json, read_object
from games.worker_pool import WorkerPool

KERNELS = "kernels.json"
Curves = dict[str, float | list[Any]]
"""The content of a run's file: its curves by name, and its processor time as `seconds`."""


def run_name(task: str, method: str, seed: int) -> str:
    return f"{task}.{method}.{seed}"


def train_run(task: str, method: str, seed: int, path: Path) -> None:
    """Train one run and write its curves to `path`."""
    import torch

    from experiments.rlhf.exact_bandit import METHODS, train
    from experiments.rlhf.exact_tasks import TASKS

    torch.set_num_threads(1)
    begin = time.process_time()
    curves = train(TASKS[task], METHODS[method], seed=seed, rollouts=ROLLOUTS)
    document = {name: np.vectorize(rounded, otypes=[float])(values).tolist() for name, values in curves.items()}
    atomic_write(path, json.dumps({**document, "seconds": time.process_time() - begin}) + "\n")


def load(path: Path) -> dict[str, Any]:
    """Return the curves of a run as arrays."""
    return {name: np.asarray(values) for name, values in read_json(path, Curves, error=AgentError).items()}


def main(
    out: Annotated[Path, typer.Option(help="folder of exact.md, exact.json and the figures")],
    folder: Annotated[Path, typer.Option("--runs", help="folder of the runs")],
    workers: Annotated[int, typer.Option(min=0, help="processes; 0 only reports")] = 1,
) -> None:
    """Complete the missing runs, and write the report."""
    from experiments.rlhf import exact_report

    with exclusive(folder), exclusive(out, exact_report.RESULTS, exact_report.REPORT):
        kernels = folder / KERNELS
        if not kernels.exists():
            from experiments.rlhf.exact_kernels import measure

            atomic_write(kernels, json.dumps(measure()) + "\n")
        wanted = [(task, method, seed) for seed in SEEDS for task, method in CELLS]
        paths = {key: folder / f"{run_name(*key)}.json" for key in wanted}
        if workers:
            missing = [key for key, path in paths.items() if not path.exists()]
            with WorkerPool(workers) as pool:
                jobs = {pool.submit(train_run, *key, paths[key]): key for key in missing}
                for count, job in enumerate(as_completed(jobs), 1):
                    job.result()
                    typer.echo(f"{count} of {len(missing)} runs: {run_name(*jobs[job])}")
        finished = {key: load(path) for key, path in paths.items() if path.exists()}
        exact_report.write(out, finished, read_object(kernels, error=AgentError))


if __name__ == "__main__":
    program.run(main)
