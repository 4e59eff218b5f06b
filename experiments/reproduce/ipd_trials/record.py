"""Store the training curves of finished trials in one file."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict

from agents.protocol import AgentError
from experiments.reproduce.ipd_trials.run_trials import Arm, Job, finished_curves, jobs_of
from experiments.reproduce.ipd_trials.trial import COLUMNS
from games.files import atomic_write, json_hash
from games.untrusted_files import check_regular, is_present, parse_json, validated

NAME = "trials.safetensors"  # a half-precision tensor [rollouts, columns] for each trial, named like ARM/trial-03


class StoredMetadata(TypedDict):
    """The metadata of `trials.safetensors`."""

    seed: int
    columns: list[str]
    recipes: dict[str, dict[str, Any]]
    seconds: dict[str, float]
    digest: str


@dataclass(slots=True, kw_only=True)
class Record:
    """The finished trials of all arms."""

    seed: int
    recipes: dict[str, dict[str, Any]] = field(default_factory=dict)  # by the arm's name
    seconds: dict[str, float] = field(default_factory=dict)  # processor time by the trial's name
    rows: dict[str, NDArray[np.float16]] = field(default_factory=dict)  # curves [rollouts, columns] by the trial's name

    def holds(self, job: Job) -> bool:
        """Return whether all trials of `job` are stored. Raise AgentError if stored settings differ from `job.arm`."""
        return all(self._holds_trial(job.arm, trial) for trial in job.trials)

    def _holds_trial(self, arm: Arm, trial: int) -> bool:
        recipe, expected = self.recipes.get(arm.name), arm.recipe.model_dump()
        if recipe not in (None, expected):
            change = f"by the recipe {recipe}, not by {expected}"
            raise AgentError(f"the record holds {arm.name} {change}; choose another folder for the report")
        return len(self.rows.get(_trial_name(arm, trial), ())) >= arm.rollouts

    def add_finished(self, arms: Sequence[Arm], runs: Path) -> None:
        """Add the finished trials of `arms` from the folder `runs`."""
        for job in (job for arm in arms for job in jobs_of(arm, self.seed)):
            if not self.holds(job) and (curves := finished_curves(job, runs)) is not None:
                rows, seconds = curves
                self.recipes[job.arm.name] = job.arm.recipe.model_dump()
                names = [_trial_name(job.arm, trial) for trial in job.trials]
                self.rows |= zip(names, rows.astype(np.float16), strict=True)
                self.seconds |= dict.fromkeys(names, round(seconds / len(rows), 1))

    def curves_of(self, arm: Arm) -> tuple[NDArray[np.float64], float]:
        """Return an arm's curves [trials, rollouts, columns] and total processor seconds."""
        names = [_trial_name(arm, trial) for trial in range(arm.trials) if self._holds_trial(arm, trial)]
        rows = [self.rows[name][: arm.rollouts].astype(np.float64) for name in names]
        return np.reshape(rows, (len(names), arm.rollouts, len(COLUMNS))), sum(self.seconds[name] for name in names)

    def write(self, path: Path) -> None:
        from safetensors.numpy import save

        metadata = {"seed": self.seed, "columns": COLUMNS, "recipes": self.recipes, "seconds": self.seconds}
        metadata["digest"] = _digest(metadata, self.rows)
        text = json.dumps(metadata, allow_nan=False, sort_keys=True)
        atomic_write(path, save({name: self.rows[name] for name in sorted(self.rows)}, metadata={"about": text}))


def _trial_name(arm: Arm, trial: int) -> str:
    return f"{arm.name}/trial-{trial:02d}"


def _digest(metadata: Mapping[str, Any], rows: Mapping[str, NDArray[np.float16]]) -> str:
    digest = hashlib.sha256(json_hash({name: metadata[name] for name in metadata if name != "digest"}).encode())
    for name in sorted(rows):
        digest.update(rows[name].tobytes())
    return digest.hexdigest()


def read(path: Path, *, seed: int) -> Record:
    """Load `path`, or return an empty record. Raise AgentError if the stored seed is not `seed`."""
    from safetensors import SafetensorError, safe_open

    if not is_present(path):
        return Record(seed=seed)
    check_regular(path, AgentError)
    try:
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {})["about"]
            metadata = validated(StoredMetadata, parse_json(text, str(path), AgentError), str(path), AgentError)
            rows = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 file is not a mapping
        if tuple(metadata["columns"]) != COLUMNS or set(rows) != set(metadata["seconds"]):
            raise ValueError(f"it has the columns {metadata['columns']}")
        if any(row.ndim != 2 or row.shape[1] != len(COLUMNS) or row.dtype != np.float16 for row in rows.values()):
            raise ValueError("a trial has no half-precision numbers in these columns")
        if metadata["digest"] != _digest(metadata, rows):
            raise ValueError("its content does not match its digest")
        record = Record(seed=metadata["seed"], recipes=metadata["recipes"], seconds=metadata["seconds"], rows=rows)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise AgentError(f"{path} is not a record of trials: {error}; remove it to begin again") from None
    if record.seed != seed:
        raise AgentError(f"{path} holds trials of seed {record.seed}, not {seed}; choose another folder for the report")
    return record
