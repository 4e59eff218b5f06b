"""The checkpoint of a reward model's training. It exists beside the folder of the model until the model is saved."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from agents.config import ModelConfig
from agents.protocol import AgentError
from agents.storage.checkpoint import (
    AGENT,
    STATE,
    TRAINING,
    WEIGHTS,
    load_tensors,
    loading_tensors,
    read_json,
    read_tensors,
    save_agent,
    verify,
)
from agents.training.reward_model import RewardModel
from agents.training.updater import load_torch_optimizer, torch_optimizer_tensors
from games.untrusted_files import validated

KIND = "training of a reward model"


class RewardCheckpoint:
    """The state of a reward model's training after its last finished epoch, in a hidden folder beside `out`.

    Args:
        out: folder of the reward model.
        config: configuration of the model.
        made_by: JSON values that determine the training. A stored state with other values is ignored when loading,
            and replaced when saving.
    """

    def __init__(self, out: Path, config: ModelConfig, made_by: Mapping[str, Any]) -> None:
        self._folder, self._config, self._made_by = out.with_name(f".{out.name}.part"), config, dict(made_by)

    def save(self, reward_model: RewardModel, torch_optimizer: torch.optim.Optimizer, losses: Sequence[float]) -> None:
        """Save the state. `losses` holds the mean loss of each finished epoch."""
        about = {"kind": KIND, "name": KIND, "prompt": "plain", "mode": "free", "context": reward_model.max_tokens}
        tensors = torch_optimizer_tensors(torch_optimizer) | {"torch_rng": torch.get_rng_state()}
        model, tokenizer = reward_model.model, reward_model.tokenizer
        about_training = {"made_by": self._made_by}
        save_agent(
            self._folder, model, tokenizer, self._config, about | about_training,
            training=tensors, state={"losses": list(losses)},
        )  # fmt: skip

    def load(self, reward_model: RewardModel, torch_optimizer: torch.optim.Optimizer) -> list[float]:
        """Load the state, if there is one, and return the mean loss of each finished epoch.

        Raises:
            AgentError: a file of the state is damaged.
        """
        if not (self._folder / AGENT).is_file() or verify(self._folder, kind=KIND).get("made_by") != self._made_by:
            return []
        state = validated(
            dict[str, list[float]], read_json(self._folder / STATE), str(self._folder / STATE), AgentError
        )
        tensors = read_tensors(self._folder / TRAINING)
        with loading_tensors(self._folder / TRAINING):
            torch.set_rng_state(tensors.pop("torch_rng"))
            load_torch_optimizer(torch_optimizer, tensors)
        load_tensors(reward_model.model, read_tensors(self._folder / WEIGHTS), self._folder)
        return state["losses"]

    def is_present(self) -> bool:
        """Return whether there is a state of this training."""
        about = self._folder / AGENT
        return about.is_file() and read_json(about).get("made_by") == self._made_by

    def remove(self) -> None:
        """Remove the state."""
        shutil.rmtree(self._folder, ignore_errors=True)
