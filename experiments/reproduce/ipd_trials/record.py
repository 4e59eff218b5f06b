"""The curves of finished trials, in one small file that is kept with a report: a trial in it is never run again.

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
from experiments.reproduce.ipd_trials.runs import Arm, Job, finished, jobs_of
from experiments.reproduce.ipd_trials.trial import COLUMNS
from games.files import atomic_write

NAME = "trials.safetensors"


@dataclass(slots=True, kw_only=True)
class Record:
    """Finished trials by their names, ARM/trial-03."""

    seed: int
    recipes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Arm -> its recipe."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Trial -> processor time."""
    rows: dict[str, NDArray[np.float16]] = field(default_factory=dict)
    """Trial -> [rollouts, columns]."""

    def holds(self, job: Job) -> bool:
        """Whether all trials of the batch are here, at their full length.

        Raises:
            AgentError: trials of this arm's name are here, of another recipe.
        """
        assert job.seed == self.seed
        return all(self._holds(job.arm, trial) for trial in job.trials)

    def _holds(self, arm: Arm, trial: int) -> bool:
        recipe = self.recipes.get(arm.name)
        if recipe not in (None, arm.recipe.model_dump()):
            raise AgentError(
                f"the record holds {arm.name} by the recipe {recipe}, not by {arm.recipe.model_dump()};"
                " choose another folder for the report"
            )
        return len(self.rows.get(_name(arm, trial), ())) >= arm.rollouts

    def take(self, arms: Sequence[Arm], runs: Path) -> None:
        """Take over the trials that are finished in a folder of runs."""
        for job in (job for arm in arms for job in jobs_of(arm, self.seed)):
            found = None if self.holds(job) else finished(job, runs)
            if found is not None:
                rows, seconds = found
                self.recipes[job.arm.name] = job.arm.recipe.model_dump()
                for trial, own in zip(job.trials, rows, strict=True):
                    name = _name(job.arm, trial)
                    self.rows[name], self.seconds[name] = own.astype(np.float16), round(seconds / len(rows), 1)

    def of(self, arm: Arm) -> tuple[NDArray[np.float64], float]:
        """[trials, rollouts, columns] of the arm's finished trials, of which there may be none, and their seconds."""
        names = [_name(arm, trial) for trial in range(arm.trials) if self._holds(arm, trial)]
        rows = [self.rows[name][: arm.rollouts].astype(np.float64) for name in names]
        empty = np.zeros((0, arm.rollouts, len(COLUMNS)))
        return (np.stack(rows) if rows else empty), sum(self.seconds[name] for name in names)

    def write(self, path: Path) -> None:
        from safetensors.numpy import save

        about = {"seed": self.seed, "columns": COLUMNS, "recipes": self.recipes, "seconds": self.seconds}
        text = json.dumps(about, allow_nan=False, sort_keys=True)
        atomic_write(path, save({name: self.rows[name] for name in sorted(self.rows)}, metadata={"about": text}))


def _name(arm: Arm, trial: int) -> str:
    return f"{arm.name}/trial-{trial:02d}"


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
