"""Starts a run from the weights of another run (`train --init`)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from actde.config import format_value, option
from agents.config import ModelConfig
from agents.model.actor_critic import ActorCritic
from agents.protocol import AgentError
from agents.storage.checkpoint import read_stored
from agents.storage.checkpoint_files import TOKENIZER, WEIGHTS, newest, read_json, verify
from agents.storage.tensor_files import local_rows

EQUAL_SETTINGS, Q_SETTINGS = ("trunk", "lora", "lora_layers", "head_layers"), ("q_heads", "dueling")


@torch.no_grad()
def load_weights(
    model: ActorCritic,
    tokenizer: Any,
    config: ModelConfig,
    source: Path,
    *,
    reset_q: bool = False,
    q_is_baseline: bool = False,
) -> tuple[list[str], list[str]]:
    """Copy the weights of a checkpoint into `model`.

    Return a tuple (notes for the user, hashes of the weights' training games).
    """
    folder = newest(source)
    metadata = verify(folder)
    has_q = bool(metadata["model"]["q_heads"]) and not reset_q
    _check_config(metadata["model"], config, source, with_q=has_q and bool(config.q_heads))
    if read_json(folder / TOKENIZER)["model"] != json.loads(tokenizer.backend_tokenizer.to_str())["model"]:
        # equal shapes do not imply that token ids have the same meaning
        raise AgentError(f"{source} has another vocabulary than this run; start without --init")
    notes = []
    if config.q_heads and not metadata["model"]["q_heads"]:
        notes.append(f"{source} has no Q head: q starts {'at v' if config.dueling else 'untrained'}")
    if config.q_heads and has_q and q_is_baseline:
        notes.append(f"the run starts with the q of {source}, and may lose what its policy has learned; see --reset-q")
    if config.q_heads and q_is_baseline and not has_q and not config.dueling:
        notes.append("q starts untrained and not at v, so the run may lose what its policy has learned; see --dueling")
    if (dtype := metadata["model"]["dtype"]) != config.dtype:
        notes.append(
            f"{source} was trained in {dtype}, this run computes in {config.dtype}: the policy differs a little"
        )
    if "trained_on" not in metadata:
        notes.append(f"{source} does not record the games on which it was trained")
    tensors = read_stored(folder, WEIGHTS, metadata)
    for name, parameter in model.named_parameters():
        is_q = name.startswith(("heads.q.", "heads.target_q."))
        if (is_q and not has_q) or not (is_q or parameter.requires_grad):
            continue
        tensor = tensors.get(name, tensors.get(name.replace("heads.target_q.", "heads.q.")))
        if tensor is None or tensor.shape != parameter.shape:
            state = "is missing" if tensor is None else f"is {list(tensor.shape)}"
            raise AgentError(f"{source} does not fit: {name} {state}, but the model needs {list(parameter.shape)}")
        parameter.copy_(local_rows(tensor, parameter))
    return notes, list(metadata.get("trained_on") or ())


def settings_of_checkpoint(source: Path, *, reset_q: bool = False) -> dict[str, Any]:
    """Return the settings that a run takes from the checkpoint `source`."""
    metadata = verify(newest(source))
    stored = ModelConfig(**metadata["model"]).model_dump()
    q_settings = Q_SETTINGS if stored["q_heads"] and not reset_q else ()
    texts = {name: metadata[name] for name in ("prompt", "return_text") if metadata.get(name)}
    return {name: stored[name] for name in (*EQUAL_SETTINGS, "dtype", *q_settings)} | texts


def _check_config(stored: Mapping[str, Any], config: ModelConfig, source: Path, *, with_q: bool) -> None:
    for name in (*EQUAL_SETTINGS, *(Q_SETTINGS if with_q else ())):
        if stored.get(name) != getattr(config, name):
            raise AgentError(
                f"{source} was made with {name}={format_value(stored.get(name))}, this run has {name}="
                f"{format_value(getattr(config, name))}; use the same {option(name)}, or no --init"
                f"{', or --reset-q' if name in Q_SETTINGS else ''}"
            )
