"""Checks that a run can be resumed, and reads its training state."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from actde.config import option
from agents.config import BudgetConfig, TrainConfig
from agents.protocol import AgentError
from agents.storage.checkpoint import read_stored
from agents.storage.checkpoint_files import AGENT, FOLDER, STATE, TRAINING, WEIGHTS, read_json, verify
from agents.storage.run_folder import CHANGEABLE, SETTINGS, parse_config
from agents.storage.schema import TrainingState
from agents.storage.tensor_files import StoredTensor
from games import GameSpec
from games.game_hash import input_digests
from games.untrusted_files import validated


class StoredTraining(NamedTuple):
    """The training state in a checkpoint."""

    state: TrainingState
    weights: dict[str, StoredTensor]
    tensors: dict[str, StoredTensor]  # states of the torch optimizer and of the random number generators


def read_training(folder: Path, config: TrainConfig) -> StoredTraining:
    """Read a checkpoint's training state.

    Raise AgentError if the checkpoint is damaged or does not fit `config`.
    """
    metadata = verify(folder)
    stored_settings = parse_config(metadata.get("made_by", {}), folder / AGENT).flat()
    for name, value in config.flat().items():
        if name not in CHANGEABLE and stored_settings[name] != value:
            cause = f"{folder} was made with {option(name)} {stored_settings[name]!r:.60}"
            raise AgentError(f"{cause}, but {SETTINGS} of the run says {value!r:.60}; use another copy of one of them")
    state = validated(TrainingState, read_json(folder / STATE), str(folder / STATE), AgentError)
    if folder.name != f"{state.iteration:06d}":
        raise AgentError(f"{folder / STATE} is damaged: it is of iteration {state.iteration}; use another copy")
    return StoredTraining(state, read_stored(folder, WEIGHTS, metadata), read_stored(folder, TRAINING, metadata))


def excess_iterations(path: Path, iterations: int, budget: BudgetConfig) -> str | None:
    """Return an error message if a run has finished more iterations than `budget` allows."""
    if iterations <= budget.iterations:
        return None
    expected = f"expected --iterations {iterations} or more, got {budget.iterations}"
    return f"the run in {path} has finished {iterations} iterations: {expected}"


def changed_input(path: Path, iterations: int, specs: Iterable[GameSpec]) -> str | None:
    """Return an error message if a game file has changed since the checkpoint."""
    try:
        stored = read_json(path / FOLDER / f"{iterations:06d}" / STATE).get("input_files") if iterations else None
    except AgentError:
        stored = None
    if not isinstance(stored, dict):
        return None
    hashes = input_digests(specs)  # so a moved file counts as unchanged
    lost = {Path(name).name for name, digest in stored.items() if digest not in hashes.values()}
    new = {Path(name).name for name, digest in hashes.items() if digest not in stored.values()}
    if not (file_names := sorted(lost & new or new | lost)):
        return None
    change = "has changed" if file_names[0] in lost & new else "is new" if file_names[0] in new else "is missing"
    more = f" (and {len(lost | new) - 1} more)" if len(lost | new) > 1 else ""
    description = f"{file_names[0]} {change}{more}"
    return f"since the newest checkpoint of {path}, the files of its games have changed: {description}"


def check_resumed(path: Path, iterations: int, specs: Iterable[GameSpec], budget: BudgetConfig) -> None:
    """Raise AgentError if a run has exceeded `budget` or if a game file has changed."""
    if excess := excess_iterations(path, iterations, budget):
        raise AgentError(excess)
    if changed := changed_input(path, iterations, specs):
        raise AgentError(f"{changed}; restore them, or start a new run with --init {path}")
