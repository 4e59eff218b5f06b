"""Train SmolLM2 on small bandits, whose expected rewards are known exactly."""

import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer

from agents.protocol import AgentError
from experiments import program
from experiments.compare.grid import rounded
from experiments.rlhf import exact_report, runs
from experiments.rlhf.exact_bandit import METHODS, q_step_sizes, train
from experiments.rlhf.exact_contrasts import CELLS, ROLLOUTS, SEEDS
from experiments.rlhf.exact_tasks import TASKS
from games.files import atomic_write, exclusive
from games.untrusted_files import read_json, read_object

Curves = dict[str, float | list[Any]]  # the content of a run's file: its curves, and its processor time as `seconds`


def train_run(task: str, method: str, seed: int, path: Path) -> None:
    torch.set_num_threads(1)
    begin = time.process_time()
    curves = train(TASKS[task], METHODS[method], seed=seed, rollouts=ROLLOUTS)
    document = {name: np.vectorize(rounded, otypes=[float])(values).tolist() for name, values in curves.items()}
    atomic_write(path, json.dumps({**document, "seconds": time.process_time() - begin}) + "\n")


def main(out: runs.Out, folder: runs.Folder, workers: runs.Workers = 1) -> None:
    """Train the missing runs, and write the report."""
    with exclusive(folder), exclusive(out, exact_report.RESULTS, exact_report.REPORT):
        kernels_path = folder / "kernels.json"
        if not kernels_path.exists():
            atomic_write(kernels_path, json.dumps(q_step_sizes()) + "\n")
        paths = {
            (task, method, seed): folder / f"{task}.{method}.{seed}.json" for seed in SEEDS for task, method in CELLS
        }
        if workers:
            missing = {path.stem: (*key, path) for key, path in paths.items() if not path.exists()}
            count = itertools.count(1)

            def on_run(name: str) -> None:
                typer.echo(f"{next(count)} of {len(missing)} runs: {name}")

            runs.run_in_processes(train_run, missing, workers, on_run)
        finished = {
            key: {name: np.asarray(values) for name, values in read_json(path, Curves, error=AgentError).items()}
            for key, path in paths.items()
            if path.exists()
        }
        exact_report.write(out, finished, read_object(kernels_path, error=AgentError))


if __name__ == "__main__":
    program.run(main)
