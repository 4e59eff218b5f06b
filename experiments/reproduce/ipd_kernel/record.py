"""What finished trials wrote down, in one small file that is kept with a report: a trial in it is never run again.

`trials.safetensors` holds a tensor [rollouts, columns of `COLUMNS`] in half precision for every trial, named
ARM/trial-03, and as metadata what they were: seed, recipes and processor seconds.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.protocol import AgentError
from experiments.reproduce.ipd_kernel.runs import Arm, Job, finished
from experiments.reproduce.ipd_kernel.trial import COLUMNS
from games.files import atomic_write

NAME = "trials.safetensors"


@dataclass(slots=True, kw_only=True)
class Record:
    """Finished trials by their jobs' names."""

    seed: int
    recipes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Arm -> its recipe."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Trial -> processor time."""
    rows: dict[str, NDArray[np.float16]] = field(default_factory=dict)
    """Trial -> [rollouts, columns]."""

    def holds(self, job: Job) -> bool:
        """Whether the trial is here, at its full length.

        Raises:
            AgentError: trials of this arm's name are here, of another recipe.
        """
        recipe = self.recipes.get(job.arm.name)
        if recipe not in (None, job.arm.recipe.model_dump()):
            raise AgentError(
                f"the record holds {job.arm.name} by the recipe {recipe}, not by {job.arm.recipe.model_dump()};"
                " choose another folder for the report"
            )
        assert job.seed == self.seed
        return len(self.rows.get(job.name, ())) >= job.arm.rollouts

    def take(self, arms: Sequence[Arm], runs: Path) -> None:
        """Take over the trials that are finished in a folder of runs."""
        for arm in arms:
            for trial in range(arm.trials):
                job = Job(arm=arm, trial=trial, seed=self.seed)
                found = None if self.holds(job) else finished(job, runs)
                if found is not None:
                    self.recipes[arm.name] = arm.recipe.model_dump()
                    self.rows[job.name], self.seconds[job.name] = found[0].astype(np.float16), round(found[1], 1)

    def of(self, arm: Arm) -> tuple[NDArray[np.float64], float]:
        """[trials, rollouts, columns] of the arm's finished trials, of which there may be none, and their seconds."""
        jobs = [Job(arm=arm, trial=trial, seed=self.seed) for trial in range(arm.trials)]
        names = [job.name for job in jobs if self.holds(job)]
        rows = [self.rows[name][: arm.rollouts].astype(np.float64) for name in names]
        empty = np.zeros((0, arm.rollouts, len(COLUMNS)))
        return (np.stack(rows) if rows else empty), sum(self.seconds[name] for name in names)

    def write(self, path: Path) -> None:
        from safetensors.numpy import save

        about = {"seed": self.seed, "columns": COLUMNS, "recipes": self.recipes, "seconds": self.seconds}
        text = json.dumps(about, allow_nan=False, sort_keys=True)
        atomic_write(path, save({name: self.rows[name] for name in sorted(self.rows)}, metadata={"about": text}))


def read(path: Path, *, seed: int) -> Record:
    """The record in a file; an empty one where there is none.

    Raises:
        AgentError: the file is damaged, its columns are others, or its trials are of another seed.
    """
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return Record(seed=seed)
    try:
        with safe_open(path, framework="np") as file:
            about: Mapping[str, Any] = json.loads((file.metadata() or {})["about"])
            rows = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 it is no mapping
        if tuple(about["columns"]) != COLUMNS or set(rows) != set(about["seconds"]):
            raise ValueError(f"it has the columns {about['columns']}")
        found = Record(seed=about["seed"], recipes=about["recipes"], seconds=about["seconds"], rows=rows)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise AgentError(f"{path} is not a record of trials: {error}; remove it to begin again") from None
    if found.seed != seed:
        raise AgentError(f"{path} holds trials of seed {found.seed}, not {seed}; choose another folder for the report")
    return found
