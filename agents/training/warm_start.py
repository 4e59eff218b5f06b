"""A run that starts from the weights of another one: `train --init RUN_OR_CHECKPOINT`.

Trunk or adapter and heads come from the newest checkpoint there, whose model must have the same configuration. A Q head
that the checkpoint lacks starts untrained.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from agents.config import ModelConfig
from agents.model.actor_critic import ActorCritic
from agents.protocol import AgentError
from agents.storage.checkpoint import TOKENIZER, WEIGHTS, newest, read_json, read_tensors, verify

SAME = ("trunk", "lora", "dtype", "head_layers")
"""Settings that must equal the checkpoint's; they follow it unless a trunk is named."""
Q_PARTS = ("heads.q.", "heads.target_q.")


@torch.no_grad()
def load_weights(model: ActorCritic, tokenizer: Any, config: ModelConfig, source: Path) -> tuple[list[str], list[str]]:
    """Copy the weights of the newest checkpoint in `source` into the model.

    Returns:
        What the user should know, a line each; and the hashes of the games on which the checkpoint was trained.

    Raises:
        AgentError: there is no checkpoint, it is damaged, or its model differs.
    """
    folder = newest(source)
    about = verify(folder)
    has_q = bool(about["model"]["q_heads"])
    _check_config(about["model"], config, source)
    _check_tokenizer(folder, tokenizer, source)
    notes = []
    if config.q_heads and not has_q:
        notes.append(f"{source} has no Q head: it starts untrained")
    if "trained_on" not in about:
        notes.append(f"{source} does not record the games on which it was trained")
    tensors = read_tensors(folder / WEIGHTS)
    for name, parameter in model.named_parameters():
        of_q = name.startswith(Q_PARTS)
        if (of_q and not has_q) or not (of_q or parameter.requires_grad):
            continue
        tensor = tensors.get(name, tensors.get(name.replace("heads.target_q.", "heads.q.")))
        if tensor is None or tensor.shape != parameter.shape:
            state = "is missing" if tensor is None else f"is {list(tensor.shape)}"
            raise AgentError(f"{source} does not fit: {name} {state}, but the model needs {list(parameter.shape)}")
        parameter.copy_(tensor)
    return notes, list(about.get("trained_on") or ())


def settings_of_checkpoint(source: Path) -> dict[str, Any]:
    """The settings that a run which starts from this checkpoint takes from it: its model's and its prompt."""
    about = verify(newest(source))
    made = about["model"]
    q_parts = ("q_heads", "dueling") if made["q_heads"] else ()
    return {name: made[name] for name in (*SAME, *q_parts)} | {"prompt": about["prompt"]}


def _check_config(made: Mapping[str, Any], wanted: ModelConfig, source: Path) -> None:
    q_parts = ("q_heads", "dueling") if made["q_heads"] and wanted.q_heads else ()
    for name in (*SAME, *q_parts):
        if made[name] != getattr(wanted, name):
            raise AgentError(
                f"{source} was made with {name}={made[name]!r}, this run has {name}={getattr(wanted, name)!r}; "
                f"use the same --{name.replace('_', '-')}, or no --init"
            )


def _check_tokenizer(folder: Path, tokenizer: Any, source: Path) -> None:
    """Equal shapes do not imply that token ids mean the same."""
    if read_json(folder / TOKENIZER)["model"] != json.loads(tokenizer.backend_tokenizer.to_str())["model"]:
        raise AgentError(f"{source} has another vocabulary than these games need; start without --init")
