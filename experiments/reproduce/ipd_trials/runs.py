"""Many trials, in processes and in batches: each batch resumes from its last checkpoint.

A batch's folder is RUNS/ARM/trials-00-04 with `trials.json` (what it is) and `checkpoint.safetensors` (how far it is).
Trial i of every arm begins with the same weights and, as long as both drop activations, draws the same random numbers,
so arms are compared in pairs.
"""

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

from agents.protocol import AgentError
from agents.storage.checkpoint import read_json, read_tensors
from experiments.reproduce.ipd_trials.blocks import can_compile
from experiments.reproduce.ipd_trials.trial import EPOCHS, Recipe, Trials
from games.files import atomic_write
from games.worker_pool import WorkerPool

ABOUT, CHECKPOINT = "trials.json", "checkpoint.safetensors"
BATCH = 5
"""Trials of an arm that run side by side in one process."""
PIECE = 20
"""Rollouts between two checkpoints; about 12 s of one core."""
COMPILED_FROM = 100
"""Rollouts of an arm from which on compilation, about 45 s of one core, pays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """Trials of one recipe."""

    name: str
    recipe: Recipe
    trials: int
    steps: int
    """Gradient steps of each trial, a multiple of `EPOCHS`."""

    @property
    def rollouts(self) -> int:
        return self.steps // EPOCHS


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A batch of trials of an arm."""

    arm: Arm
    trials: range
    seed: int

    @property
    def name(self) -> str:
        return f"{self.arm.name}/trials-{self.trials[0]:02d}-{self.trials[-1]:02d}"

    def folder(self, runs: Path) -> Path:
        return runs / self.name

    def about(self) -> dict[str, Any]:
        """What it is, as its folder says."""
        return {"recipe": self.arm.recipe.model_dump(), "seed": self.seed, "trials": list(self.trials)}


def jobs_of(arm: Arm, seed: int) -> list[Job]:
    """All trials of an arm in batches."""
    starts = range(0, arm.trials, BATCH)
    return [Job(arm=arm, trials=range(start, min(start + BATCH, arm.trials)), seed=seed) for start in starts]


def run(jobs: Sequence[Job], runs: Path, *, workers: int, on_progress: Callable[[str, float, float], None]) -> None:
    """Bring every batch to its end, `workers` at a time, in this order.

    Args:
        on_progress: told after every piece what was done, and how many rollouts of how many that were missing.

    Raises:
        AgentError: a folder holds other trials, or damaged ones.
    """
    done = {job: min(_rollouts_of(job, runs), job.arm.rollouts) for job in jobs}
    before, total = sum(done.values()), sum(job.arm.rollouts for job in jobs)
    waiting = deque(job for job in jobs if done[job] < job.arm.rollouts)
    if not waiting:
        return
    if any(_long(job) for job in waiting) and not can_compile():
        sys.stderr.write("with a C++ compiler (g++) and Python's header files, trials run about three times faster\n")
    with WorkerPool(workers) as pool:
        running: dict[Future[int], Job] = {}
        while waiting or running:
            while waiting and len(running) < workers:
                job = waiting.popleft()
                running[pool.submit(_advance_on_one_core, job, runs)] = job
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                done[job] = future.result()
                if done[job] < job.arm.rollouts:
                    waiting.appendleft(job)
                on_progress(job.name, sum(done.values()) - before, total - before)


def advance(job: Job, runs: Path, rollouts: int = PIECE) -> int:
    """Go on with a batch for some rollouts and write its checkpoint; returns how many rollouts it has by then."""
    from safetensors.torch import save

    folder = job.folder(runs)
    trials = load(job, runs)
    until = min(trials.curves.shape[1] + rollouts, job.arm.rollouts)
    began = time.process_time()
    while trials.curves.shape[1] < until:
        trials.step()
    trials.seconds += time.process_time() - began
    atomic_write(folder / CHECKPOINT, save({name: x.contiguous() for name, x in trials.state().items()}))
    return until


def _advance_on_one_core(job: Job, runs: Path) -> int:
    """`advance` in a worker."""
    import torch

    torch.set_num_threads(1)
    return advance(job, runs)


def _long(job: Job) -> bool:
    return job.arm.rollouts >= COMPILED_FROM


def load(job: Job, runs: Path) -> Trials:
    """The batch as far as it is; a new one, whose folder is made, where there is none."""
    folder = job.folder(runs)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / ABOUT).exists():
        atomic_write(folder / ABOUT, json.dumps(job.about(), indent=1, allow_nan=False) + "\n")
    _check(job, runs)
    seeds = [np.random.SeedSequence(job.seed, spawn_key=(trial,)) for trial in job.trials]
    trials = Trials(job.arm.recipe, seeds, compiled=_long(job) and can_compile())
    if (folder / CHECKPOINT).exists():
        try:
            trials.load_state(read_tensors(folder / CHECKPOINT))
        except (KeyError, RuntimeError, ValueError) as error:
            raise AgentError(
                f"{folder / CHECKPOINT} is not of these trials ({error}); remove it to begin again"
            ) from None
    return trials


def finished(job: Job, runs: Path) -> tuple[NDArray[np.float64], float] | None:
    """What a finished batch recorded, [trials, rollouts, columns of `COLUMNS`], and its processor seconds; None before.

    Raises:
        AgentError: the folder holds other trials, or damaged ones.
    """
    if _rollouts_of(job, runs) < job.arm.rollouts:
        return None
    _check(job, runs)
    state = read_tensors(job.folder(runs) / CHECKPOINT)
    return state["curves"].numpy()[:, : job.arm.rollouts], float(state["seconds"])


def _check(job: Job, runs: Path) -> None:
    found = read_json(job.folder(runs) / ABOUT)
    if found != job.about():
        raise AgentError(f"{job.folder(runs)} holds other trials ({found}); choose another folder for the report")


def _rollouts_of(job: Job, runs: Path) -> int:
    path = job.folder(runs) / CHECKPOINT
    if not path.exists():
        return 0
    state = read_tensors(path)
    if "curves" not in state:
        raise AgentError(f"{path} is no checkpoint of trials; remove it to begin again")
    return int(state["curves"].shape[1])
