"""A run that begins with what another one learned: `train --init RUN_OR_CHECKPOINT`.

Trunk or adapter and heads come from the newest checkpoint there, which must be of the same assembly; a Q head that it
lacks begins new. Leaves out what the KL is measured to (train.py keeps a frozen copy of the model that this fills).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from agents.model.actor_critic import ActorCritic
from agents.model.build import ModelConfig
from agents.protocol import AgentError
from agents.storage.checkpoint import TOKENIZER, WEIGHTS, newest, read_json, read_tensors, verify

SAME = ("trunk", "lora", "dtype", "head_layers")
"""What has to be as it was in the prior, and follows it where nothing else was asked for."""
Q_PARTS = ("heads.q.", "heads.target_q.")


@torch.no_grad()
def load_prior(model: ActorCritic, tokenizer: Any, assembly: ModelConfig, prior: Path) -> tuple[list[str], list[str]]:
    """Give the model the prior's weights.

    Returns:
        What a user should know about it, a line each; and the hashes of the games that the prior was trained on.

    Raises:
        AgentError: it is no checkpoint, is damaged, or is of another assembly.
    """
    folder = newest(prior)
    about = verify(folder)
    _check_assembly(about["assembly"], assembly, prior)
    _check_words(folder, tokenizer, prior)
    tensors, notes = read_tensors(folder / WEIGHTS), []
    if assembly.q_heads and not about["assembly"]["q_heads"]:
        notes.append(f"{prior} has no Q head: it begins new")
    if "trained_on" not in about:
        notes.append(f"{prior} does not say which games it was trained on")
    wanted = {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad or name.startswith(Q_PARTS)
    }
    for name, parameter in wanted.items():
        if name.startswith(Q_PARTS) and not about["assembly"]["q_heads"]:
            continue
        source = tensors.get(name, tensors.get(name.replace("heads.target_q.", "heads.q.")))
        if source is None or source.shape != parameter.shape:
            found = "is missing" if source is None else f"is {list(source.shape)}"
            raise AgentError(f"{prior} does not fit: {name} {found}, but the model needs {list(parameter.shape)}")
        parameter.copy_(source)
    return notes, list(about.get("trained_on") or ())


def assembly_of(prior: Path) -> dict[str, Any]:
    """The settings of the prior that must be the same in a run that begins with it, and its prompt."""
    about = verify(newest(prior))
    made = about["assembly"]
    q_parts = ("q_heads", "dueling") if made.get("q_heads") else ()
    return {name: made[name] for name in (*SAME, *q_parts) if name in made} | {"prompt": about["prompt"]}


def _check_assembly(made: Mapping[str, Any], wanted: ModelConfig, prior: Path) -> None:
    both_q = bool(made.get("q_heads")) and bool(wanted.q_heads)
    for name in (*SAME, *(("q_heads", "dueling") if both_q else ())):
        if made.get(name) != getattr(wanted, name):
            raise AgentError(
                f"{prior} was made with {name}={made.get(name)!r}, this run has {name}={getattr(wanted, name)!r}; "
                f"begin with the same --{name.replace('_', '-')}, or without --init"
            )


def _check_words(folder: Path, tokenizer: Any, prior: Path) -> None:
    """Token ids must mean the same, which shapes alone do not say."""
    if read_json(folder / TOKENIZER)["model"] != json.loads(tokenizer.backend_tokenizer.to_str())["model"]:
        raise AgentError(f"{prior} reads other words as tokens than these games need; begin without --init")
