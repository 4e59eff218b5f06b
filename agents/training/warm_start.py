"""Warm start of a run from the weights of another run (`train --init`)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from actde.config import option, written
from agents.config import ModelConfig
from agents.model.actor_critic import ActorCritic
from agents.protocol import AgentError
from agents.storage.checkpoint import TOKENIZER, WEIGHTS, newest, read_json, read_stored, verify
from agents.storage.tensor_files import part_for

SAME, OF_Q = ("trunk", "lora", "lora_layers", "head_layers"), ("q_heads", "dueling")


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
    """Copy the weights of a checkpoint into the model.

    Return notes for the user, and the hashes of the games on which the checkpoint was trained.
    """
    folder = newest(source)
    about = verify(folder)
    has_q = bool(about["model"]["q_heads"]) and not reset_q
    _check_config(about["model"], config, source, with_q=has_q and bool(config.q_heads))
    if read_json(folder / TOKENIZER)["model"] != json.loads(tokenizer.backend_tokenizer.to_str())["model"]:
        # equal shapes do not imply that token ids have the same meaning
        raise AgentError(f"{source} has another vocabulary than this run; start without --init")
    notes = []
    if config.q_heads and not about["model"]["q_heads"]:
        notes.append(f"{source} has no Q head: q starts {'at v' if config.dueling else 'untrained'}")
    if config.q_heads and has_q and q_is_baseline:
        notes.append(f"the run starts with the q of {source}, and may lose what its policy has learned; see --reset-q")
    if config.q_heads and q_is_baseline and not has_q and not config.dueling:
        notes.append("q starts untrained and not at v, so the run may lose what its policy has learned; see --dueling")
    if (dtype := about["model"]["dtype"]) != config.dtype:
        notes.append(
            f"{source} was trained in {dtype}, this run computes in {config.dtype}: the policy differs a little"
        )
    if "trained_on" not in about:
        notes.append(f"{source} does not record the games on which it was trained")
    tensors = read_stored(folder, WEIGHTS, about)
    for name, parameter in model.named_parameters():
        of_q = name.startswith(("heads.q.", "heads.target_q."))
        if (of_q and not has_q) or not (of_q or parameter.requires_grad):
            continue
        tensor = tensors.get(name, tensors.get(name.replace("heads.target_q.", "heads.q.")))
        if tensor is None or tensor.shape != parameter.shape:
            state = "is missing" if tensor is None else f"is {list(tensor.shape)}"
            raise AgentError(f"{source} does not fit: {name} {state}, but the model needs {list(parameter.shape)}")
        parameter.copy_(part_for(tensor, parameter))
    return notes, list(about.get("trained_on") or ())


def settings_of_checkpoint(source: Path, *, reset_q: bool = False) -> dict[str, Any]:
    """Return the settings that a run takes from its initial checkpoint."""
    about = verify(newest(source))
    stored = ModelConfig(**about["model"]).model_dump()
    q_parts = OF_Q if stored["q_heads"] and not reset_q else ()
    texts = {name: about[name] for name in ("prompt", "return_text") if about.get(name)}
    return {name: stored[name] for name in (*SAME, "dtype", *q_parts)} | texts


def _check_config(stored: Mapping[str, Any], config: ModelConfig, source: Path, *, with_q: bool) -> None:
    for name in (*SAME, *(OF_Q if with_q else ())):
        if stored.get(name) != getattr(config, name):
            raise AgentError(
                f"{source} was made with {name}={written(stored.get(name))}, this run has {name}="
                f"{written(getattr(config, name))}; use the same {option(name)}, or no --init"
                f"{', or --reset-q' if name in OF_Q else ''}"
            )
