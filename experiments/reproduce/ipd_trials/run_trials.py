"""Run trials in parallel batches. An interrupted batch resumes from its last checkpoint."""

import json
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.model.finite_check import check_finite
from agents.protocol import AgentError, DivergenceError
from agents.storage.checkpoint import read_tensors
from agents.storage.checkpoint_files import read_json
from experiments.reproduce.ipd_trials.blocks import can_compile
from experiments.reproduce.ipd_trials.trial import EPOCHS, Recipe, Trials
from games.cluster_pool import open_pool
from games.files import atomic_write, create_folder, remove_leftovers

ABOUT, CHECKPOINT = "trials.json", "checkpoint.safetensors"
BATCH = 5  # maximum number of trials in a batch, which has its own process and folder
PIECE = 20  # rollouts between two checkpoints; these rollouts take about 12 s on one core
COMPILED_FROM = 100  # rollouts per trial; for fewer, compilation (about 45 s on one core) saves no time


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A set of trials with the same training settings."""

    name: str
    recipe: Recipe
    trials: int
    steps: int  # gradient steps of each trial, a multiple of `EPOCHS`

    @property
    def rollouts(self) -> int:
        return self.steps // EPOCHS


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A batch: trials of one arm that one process trains together."""

    arm: Arm
    trials: range
    seed: int

    @property
    def name(self) -> str:
        return f"{self.arm.name}/trials-{self.trials[0]:02d}-{self.trials[-1]:02d}"

    @property
    def compiled(self) -> bool:
        return self.arm.rollouts >= COMPILED_FROM

    def metadata(self) -> dict[str, Any]:
        return {"recipe": self.arm.recipe.model_dump(), "seed": self.seed, "trials": list(self.trials)}


def jobs_of(arm: Arm, seed: int) -> list[Job]:
    trials = range(arm.trials)
    return [Job(arm=arm, trials=trials[start : start + BATCH], seed=seed) for start in trials[::BATCH]]


def run(
    jobs: Sequence[Job],
    runs: Path,
    *,
    workers: int | None = None,
    cluster: str | None = None,
    on_progress: Callable[[str, float, float], None],
) -> None:
    """Run all `jobs`, at most `workers` at once. `cluster` is the address of a Ray cluster."""
    rollouts = {job: min(_stored_rollouts(job, runs), job.arm.rollouts) for job in jobs}
    initial, total = sum(rollouts.values()), sum(job.arm.rollouts for job in jobs)
    waiting = deque(job for job in jobs if rollouts[job] < job.arm.rollouts)
    if not waiting:
        return
    if any(job.compiled for job in waiting) and not can_compile():
        sys.stderr.write("with a C++ compiler (g++) and Python's header files, trials run about three times faster\n")
    with open_pool(workers, cluster, runs) as pool:
        running: dict[Future[int], Job] = {}
        while waiting or running:
            while waiting and len(running) < pool.size:
                job = waiting.popleft()
                running[pool.submit(advance, job, runs)] = job
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                rollouts[job] = future.result()
                if rollouts[job] < job.arm.rollouts:
                    waiting.appendleft(job)
                on_progress(job.name, sum(rollouts.values()) - initial, total - initial)


def advance(job: Job, runs: Path, rollouts: int = PIECE) -> int:
    """Train a batch for at most `rollouts` more rollouts. Return the batch's total rollouts."""
    import torch
    from safetensors.torch import save

    torch.set_num_threads(1)
    trials = load(job, runs)
    target = min(trials.curves.shape[1] + rollouts, job.arm.rollouts)
    start = time.process_time()
    while trials.curves.shape[1] < target:
        trials.step()
    trials.seconds += time.process_time() - start
    state = trials.state()
    try:
        check_finite(state)
    except DivergenceError as error:
        raise DivergenceError(
            f"{job.name} diverged between rollouts {target - rollouts} and {target}: {error}"
        ) from None
    atomic_write(runs / job.name / CHECKPOINT, save({name: x.contiguous() for name, x in state.items()}))
    return target


def load(job: Job, runs: Path) -> Trials:
    """Load a batch from the last checkpoint, or create a new batch."""
    folder = runs / job.name
    create_folder(folder)
    remove_leftovers(folder)  # the command holds the lock of the folder with all runs
    if not (folder / ABOUT).exists():
        atomic_write(folder / ABOUT, json.dumps(job.metadata(), indent=1, allow_nan=False) + "\n")
    _check_metadata(job, runs)
    # trial i of every arm starts with the same weights, so arms can be compared in pairs of trials
    seeds = [np.random.SeedSequence(job.seed, spawn_key=(trial,)) for trial in job.trials]
    trials = Trials(job.arm.recipe, seeds, compiled=job.compiled and can_compile())
    if (folder / CHECKPOINT).exists():
        try:
            trials.load_state(read_tensors(folder / CHECKPOINT))
        except (KeyError, RuntimeError, ValueError) as error:
            raise AgentError(
                f"{folder / CHECKPOINT} is not of these trials ({error}); remove it to begin again"
            ) from None
    return trials


def finished_curves(job: Job, runs: Path) -> tuple[NDArray[np.float64], float] | None:
    """Return the curves and processor seconds of a finished batch, or else None."""
    if _stored_rollouts(job, runs) < job.arm.rollouts:
        return None
    _check_metadata(job, runs)
    state = read_tensors(runs / job.name / CHECKPOINT)
    return state["curves"].numpy()[:, : job.arm.rollouts], float(state["seconds"])


def _check_metadata(job: Job, runs: Path) -> None:
    stored = read_json(runs / job.name / ABOUT)
    if stored != job.metadata():
        raise AgentError(f"{runs / job.name} holds other trials ({stored}); choose another folder for the report")


def _stored_rollouts(job: Job, runs: Path) -> int:
    path = runs / job.name / CHECKPOINT
    if not path.exists():
        return 0
    state = read_tensors(path)
    if "curves" not in state:
        raise AgentError(f"{path} is no checkpoint of trials; remove it to begin again")
    return int(state["curves"].shape[1])
