"""Saves and loads checkpoints. A missing or damaged file raises `AgentError`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from safetensors.torch import load_file
from torch import Tensor

from agents.config import ModelConfig
from agents.language_model.agent import LanguageModelAgent
from agents.model.actor_critic import ActorCritic
from agents.model.build import assemble, build_model
from agents.model.finite_check import check_finite
from agents.model.trunk_config import known_entries, library_errors
from agents.protocol import AgentError
from agents.storage.checkpoint_files import (
    AGENT,
    FORMAT,
    STATE,
    TOKENIZER,
    TRAINING,
    WEIGHTS,
    digest_of,
    newest,
    verify,
    write_json,
)
from agents.storage.tensor_files import StoredTensor, local_rows, read_shards, tensor_errors, write_tensors
from agents.text.prompt import ReturnText, prompt_format
from games.errors import described
from games.files import atomic_folder, sha256
from games.untrusted_files import check_regular


def save_agent(
    folder: Path,
    model: ActorCritic,
    tokenizer: Any,
    config: ModelConfig,
    description: Mapping[str, Any],
    *,
    dtype: torch.dtype | None = None,
    training: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
) -> None:
    """Write or replace a checkpoint atomically. Raise `DivergenceError` if a tensor is not finite."""
    weights = {name: x.to(dtype or x.dtype) for name, x in trained_tensors(model).items()}
    check_finite(weights | dict(training or {}))
    with atomic_folder(folder) as temporary:
        write_agent(temporary, model, tokenizer, config, description, weights=weights, training=training, state=state)


def write_agent(
    folder: Path,
    model: ActorCritic,
    tokenizer: Any,
    config: ModelConfig,
    description: Mapping[str, Any],
    *,
    weights: Mapping[str, Tensor],
    training: Mapping[str, Tensor] | None,
    state: Mapping[str, Any] | None,
    shard_hashes: Mapping[str, str] | None = None,
) -> None:
    """Write a checkpoint into an existing folder. `weights` contains only unsharded tensors."""
    write_tensors(folder / WEIGHTS, weights)
    (folder / TOKENIZER).write_text(tokenizer.backend_tokenizer.to_str(), encoding="utf-8")
    if training is not None:
        write_tensors(folder / TRAINING, training)
        write_json(folder / STATE, dict(state or {}))
    # the settings of the tokenizer that its JSON file does not store
    settings = {role: getattr(tokenizer, role) for role in ("pad_token", "unk_token", "bos_token", "eos_token")}
    settings["chat_template"] = getattr(tokenizer, "chat_template", None)
    hashes = dict(shard_hashes or {})
    hashes |= {path.name: sha256(path) for path in folder.iterdir() if path.name not in hashes}
    metadata = {
        "format": FORMAT,
        **description,
        "model": config.model_dump(),
        "config": None if config.lora else known_entries(model.base.config),
        "tokenizer": {**settings, "split_special_tokens": getattr(tokenizer, "split_special_tokens", False)},
        "files": dict(sorted(hashes.items())),
    }
    write_json(folder / AGENT, metadata | {"digest": digest_of(metadata)})


def load_agent(folder: Path, *, guide_beta: float | None = None, **sampling: Any) -> LanguageModelAgent:
    """Load an agent from a checkpoint, or from the newest checkpoint of a run. It uses the GPU if there is one.

    Raise `AgentError` if a file is missing or damaged.

    Args:
        guide_beta: weight of q in the policy, per unit of reward. By default, the stored weight.
        sampling: the arguments `seed`, `greedy`, `temperature` and `top_p` of `LanguageModelAgent`.
    """
    folder = newest(folder)
    metadata = verify(folder)
    model, tokenizer = load_model(folder, metadata)
    position = metadata.get("return_text")
    returns = ReturnText(position=position, target=metadata.get("wanted_return")) if position else None
    return LanguageModelAgent(
        model,
        tokenizer,
        name=str(metadata["name"]),
        prompt=prompt_format(metadata["prompt"], tokenizer, returns),
        mode=metadata["mode"],
        context=metadata["context"],
        guide_beta=metadata.get("guide_beta", 0.0) if guide_beta is None else guide_beta,
        **sampling,
    )


def load_model(folder: Path, metadata: Mapping[str, Any]) -> tuple[ActorCritic, Any]:
    """Load the model and the tokenizer of a checkpoint. `metadata` is the result of `verify(folder)`."""
    from transformers import PreTrainedTokenizerFast

    config, tensors = ModelConfig(**metadata["model"]), read_stored(folder, WEIGHTS, metadata)
    with library_errors(f"{folder / TOKENIZER} is no tokenizer"):
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_file=str(folder / TOKENIZER), clean_up_tokenization_spaces=False, **metadata["tokenizer"]
        )
    try:
        with library_errors(f"{folder / AGENT} does not describe a model that can be built"):
            model = build_model(
                config, metadata["config"], len(tokenizer), [tensor.nbytes for tensor in tensors.values()]
            )
    except AgentError as error:
        if metadata["config"] is not None:
            raise
        raise AgentError(f"{folder} is an adapter of the model {config.trunk!r}: {error}") from error
    load_tensors(model, tensors, folder)
    return model.eval().to(PartialState().device), tokenizer


def load_pretrained(name: str, *, guide_beta: float | None = None, **sampling: Any) -> LanguageModelAgent:
    """Build an agent from a pretrained language model. The value head is untrained."""
    model, tokenizer = assemble(ModelConfig(trunk=name, q_heads=0), None)
    model = model.eval().to(PartialState().device)
    return LanguageModelAgent(model, tokenizer, name=name, guide_beta=guide_beta or 0.0, **sampling)


def trained_tensors(model: ActorCritic) -> dict[str, Tensor]:
    """Return a dict: name -> tensor that training changes. Sharded tensors stay sharded."""
    return {
        name: model.shards.get(name, parameter)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad or name.startswith("heads.target_q")
    }


@torch.no_grad()
def load_tensors(model: ActorCritic, tensors: Mapping[str, StoredTensor], source: Path) -> None:
    """Copy stored tensors into the model. A sharded trunk must not be gathered."""
    parameters = trained_tensors(model)
    if differing_names := sorted(parameters.keys() ^ tensors.keys()):
        problem = f"{len(differing_names)} names differ, such as {differing_names[0]}"
        raise AgentError(f"{source}: the weights are of another model; {problem}")
    for name, parameter in parameters.items():
        if (shape := list(tensors[name].shape)) != list(parameter.shape):
            raise AgentError(f"{source}: {name} is {shape}, but the model needs {list(parameter.shape)}")
        parameter.copy_(local_rows(tensors[name], parameter))


def read_stored(folder: Path, file_name: str, metadata: Mapping[str, Any]) -> dict[str, StoredTensor]:
    """Return a dict: name -> stored tensor. Shard files are read on access."""
    return {**read_tensors(folder / file_name), **read_shards(folder, file_name, metadata["files"])}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file. Raise AgentError if the file is damaged."""
    check_regular(path, AgentError)
    with tensor_errors(path):
        tensors = load_file(path)
        check_finite(tensors)
        return tensors


@contextmanager
def loading_tensors(source: Path) -> Iterator[None]:
    """Within the context, convert exceptions to an AgentError about `source`."""
    try:
        yield
    except AgentError:
        raise
    except (KeyError, ValueError, TypeError, RuntimeError, IndexError) as error:
        raise AgentError(f"{source} is of another run: {described(error)}; use another copy") from error
