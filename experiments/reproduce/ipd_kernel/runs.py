"""Many trials, in processes: each goes on from its last checkpoint, so that a run may be stopped at any time.

A trial's folder is RUNS/ARM/trial-03 with `trial.json` (what it is) and `checkpoint.safetensors` (how far it is).
Trial i of every arm begins with the same weights and, as long as both drop activations, draws the same random numbers,
so arms are compared in pairs.
"""

import json
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
from experiments.reproduce.ipd_kernel.trial import EPOCHS, Recipe, Trial
from games.files import atomic_write
from games.worker_pool import WorkerPool

ABOUT, CHECKPOINT = "trial.json", "checkpoint.safetensors"
PIECE = 100
"""Rollouts between two checkpoints; about 10 s of one core."""


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
    """One trial of an arm."""

    arm: Arm
    trial: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.arm.name}/trial-{self.trial:02d}"

    def folder(self, runs: Path) -> Path:
        return runs / self.name

    def about(self) -> dict[str, Any]:
        """What it is, as its folder says."""
        return {"recipe": self.arm.recipe.model_dump(), "seed": self.seed, "trial": self.trial}


def run(jobs: Sequence[Job], runs: Path, *, workers: int, on_progress: Callable[[str, float, float], None]) -> None:
    """Bring every trial to its end, `workers` at a time, in this order.

    Args:
        on_progress: told after every piece what was done, and how many rollouts of how many that were missing.

    Raises:
        AgentError: a folder holds another trial, or a damaged one.
    """
    done = {job: min(_rollouts_of(job, runs), job.arm.rollouts) for job in jobs}
    before, total = sum(done.values()), sum(job.arm.rollouts for job in jobs)
    waiting = deque(job for job in jobs if done[job] < job.arm.rollouts)
    if not waiting:
        return
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
    """Go on with a trial for some rollouts and write its checkpoint; returns how many rollouts it has by then."""
    from safetensors.torch import save

    folder = job.folder(runs)
    trial = load(job, runs)
    until = min(len(trial.curves) + rollouts, job.arm.rollouts)
    began = time.process_time()
    while len(trial.curves) < until:
        trial.step()
    trial.seconds += time.process_time() - began
    atomic_write(folder / CHECKPOINT, save({name: x.contiguous() for name, x in trial.state().items()}))
    return until


def _advance_on_one_core(job: Job, runs: Path) -> int:
    """`advance` in a worker."""
    import torch

    torch.set_num_threads(1)
    return advance(job, runs)


def load(job: Job, runs: Path) -> Trial:
    """The trial as far as it is; a new one, whose folder is made, where there is none."""
    folder = job.folder(runs)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / ABOUT).exists():
        atomic_write(folder / ABOUT, json.dumps(job.about(), indent=1, allow_nan=False) + "\n")
    _check(job, runs)
    trial = Trial(job.arm.recipe, np.random.SeedSequence(job.seed, spawn_key=(job.trial,)))
    if (folder / CHECKPOINT).exists():
        try:
            trial.load_state(read_tensors(folder / CHECKPOINT))
        except (KeyError, RuntimeError, ValueError) as error:
            raise AgentError(f"{folder / CHECKPOINT} is not this trial's ({error}); remove it to begin again") from None
    return trial


def finished(job: Job, runs: Path) -> tuple[NDArray[np.float64], float] | None:
    """What a finished trial wrote down, [rollouts, columns of `COLUMNS`], and its processor seconds; None before.

    Raises:
        AgentError: the folder holds another trial, or a damaged one.
    """
    if _rollouts_of(job, runs) < job.arm.rollouts:
        return None
    _check(job, runs)
    state = read_tensors(job.folder(runs) / CHECKPOINT)
    return state["curves"].numpy()[: job.arm.rollouts], float(state["seconds"])


def _check(job: Job, runs: Path) -> None:
    found = read_json(job.folder(runs) / ABOUT)
    if found != job.about():
        raise AgentError(f"{job.folder(runs)} holds another trial ({found}); choose another folder for the report")


def _rollouts_of(job: Job, runs: Path) -> int:
    path = job.folder(runs) / CHECKPOINT
    if not path.exists():
        return 0
    state = read_tensors(path)
    if "curves" not in state:
        raise AgentError(f"{path} is not a trial's; remove it to begin again")
    return len(state["curves"])
