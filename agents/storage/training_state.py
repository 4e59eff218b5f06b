"""Read the state of a training run from one of its checkpoints."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from actde.config import option
from actde.errors import ConfigError
from agents.config import TrainConfig, flatten
from agents.protocol import AgentError
from agents.storage.checkpoint import AGENT, STATE, TRAINING, WEIGHTS, read_json, read_stored, verify
from agents.storage.run_folder import CHANGEABLE, SETTINGS
from agents.storage.schema import TrainingState
from agents.storage.tensor_files import StoredTensor
from games.untrusted_files import validated


class StoredTraining(NamedTuple):
    """A checkpoint's counters, model weights, and tensors of the torch optimizer and the random generators."""

    state: TrainingState
    weights: dict[str, StoredTensor]
    tensors: dict[str, StoredTensor]


def read_training(folder: Path, config: TrainConfig) -> StoredTraining:
    """Read the training state and the weights in a checkpoint of the run with the configuration `config`.

    Raises:
        AgentError: a file is missing or damaged, belongs to a run with other settings, or belongs to another iteration
            than the folder's name states.
    """
    about = verify(folder)
    _check_settings(about.get("made_by", {}), config, folder)
    state = validated(TrainingState, read_json(folder / STATE), str(folder / STATE), AgentError)
    if folder.name != f"{state.iteration:06d}":
        raise AgentError(f"{folder / STATE} is damaged: it is of iteration {state.iteration}; use another copy")
    return StoredTraining(state, read_stored(folder, WEIGHTS, about), read_stored(folder, TRAINING, about))


def _check_settings(stored: Mapping[str, Any], config: TrainConfig, folder: Path) -> None:
    """Raise `AgentError` if a checkpoint was made with other settings than those of the run."""
    try:
        before = TrainConfig.from_flat(flatten(stored)).flat()
    except ConfigError as error:
        raise AgentError(f"{folder / AGENT} is damaged: {error}") from None
    for name, value in config.flat().items():
        if name not in CHANGEABLE and before[name] != value:
            made = f"{folder} was made with {option(name)} {before[name]!r:.60}"
            raise AgentError(f"{made}, but {SETTINGS} of the run says {value!r:.60}; use another copy of one of them")
