"""Checkpoints: folders that contain an agent. The checkpoints of a run also contain the state of the training.

docs/reference/files.md lists their files. A missing or damaged file raises `AgentError`. No file is unpickled.
"""

import json
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
from agents.storage.schema import AgentFile
from agents.storage.tensor_files import StoredTensor, local_rows, read_shards, tensor_errors, write_tensors
from agents.text.prompt import ReturnText, prompt_format
from games.errors import described
from games.files import atomic_folder, json_hash, sha256
from games.untrusted_files import MAX_BYTES, check_regular, read_object, validated

FORMAT = 2
LONGEST_NAME = 60  # characters of a file's name; systems refuse names of more than 255 bytes
AGENT, WEIGHTS, TOKENIZER = "agent.json", "model.safetensors", "tokenizer.json"
STATE, TRAINING = "state.json", "training.safetensors"
FOLDER = "checkpoints"  # a run's subfolder of checkpoints, each named by its number of finished iterations
INITIAL, BEST = "initial", "best"  # a run's checkpoints of the policy before training, and of the best evaluation


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
    """Write a checkpoint folder atomically. An existing folder is replaced.

    `dtype` is the data type of the stored weights. Raise `DivergenceError` if a tensor is not finite.
    """
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
    """Write the files of a checkpoint into an existing folder.

    `weights` holds the unsharded tensors. `shard_hashes` maps the name of each shard file to its hash.
    """
    write_tensors(folder / WEIGHTS, weights)
    (folder / TOKENIZER).write_text(tokenizer.backend_tokenizer.to_str(), encoding="utf-8")
    if training is not None:
        write_tensors(folder / TRAINING, training)
        _write_json(folder / STATE, dict(state or {}))
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
    _write_json(folder / AGENT, metadata | {"digest": _digest(metadata)})


def load_agent(folder: Path, *, guide_beta: float | None = None, **sampling: Any) -> LanguageModelAgent:
    """Load an agent from a checkpoint or from the newest checkpoint of a run.

    Raise `AgentError` if a file is missing or damaged.

    Args:
        guide_beta: weight of the Q head in the policy, in units of 1 / reward. The default is the stored weight.
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
    """Load the model and the tokenizer of a checkpoint. `metadata` is the result of `verify`."""
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
    """Build an agent from a pretrained language model. Its value head is untrained."""
    model, tokenizer = assemble(ModelConfig(trunk=name, q_heads=0), None)
    model = model.eval().to(PartialState().device)
    return LanguageModelAgent(model, tokenizer, name=name, guide_beta=guide_beta or 0.0, **sampling)


def newest(folder: Path) -> Path:
    """Return the newest checkpoint of a run. If `folder` is itself a checkpoint, return it."""
    if (folder / AGENT).is_file():
        return folder
    if run_checkpoints := checkpoints(folder):
        return run_checkpoints[-1]
    expected = f"expected the folder of a run, with {FOLDER}/ in it, or of a checkpoint, with {AGENT}"
    raise AgentError(f"{folder} holds no checkpoint: {expected}")


def checkpoints(run: Path) -> list[Path]:
    """Return the complete checkpoints of a run, oldest first."""
    return sorted(path for path in (run / FOLDER).glob("[0-9]*") if (path / AGENT).is_file())


def named_checkpoints(run: Path) -> dict[str, Path]:
    """Return the complete checkpoints of a run, in a dict: name, such as "best" or "000010" -> folder."""
    by_name = {name: run / name for name in (INITIAL, BEST) if (run / name / AGENT).is_file()}
    return by_name | {path.name: path for path in checkpoints(run)}


def verify(folder: Path, *, kind: str = "agent") -> dict[str, Any]:
    """Check every file of a checkpoint and return the content of `agent.json`."""
    metadata = read_json(folder / AGENT)
    if metadata.get("digest", "") not in ("", _digest(metadata)):
        raise AgentError(f"{folder / AGENT} is damaged: its content does not match its digest; use another copy")
    required = {name for name, field in AgentFile.model_fields.items() if field.is_required()}
    if metadata.get("format") != FORMAT or not required <= set(metadata):
        raise AgentError(f"{folder / AGENT} is not an agent of format {FORMAT}; it has {', '.join(sorted(metadata))}")
    validated(AgentFile, metadata, str(folder / AGENT), AgentError)
    if missing := {WEIGHTS, TOKENIZER} - set(metadata["files"]):
        raise AgentError(f"{folder / AGENT} is damaged: it has no hash of {sorted(missing)[0]}")
    if (stored_kind := metadata.get("kind", "agent")) != kind:
        raise AgentError(f"{folder} holds a model of the kind {stored_kind!r}, not {kind!r}")
    for name, digest in metadata["files"].items():
        path = folder / name
        if Path(name).name != name or len(name) > LONGEST_NAME or not path.is_file():
            raise AgentError(f"{path} is missing; the checkpoint is incomplete, use another copy")
        if path.suffix == ".json" and path.stat().st_size > MAX_BYTES:
            raise AgentError(f"{path} is damaged: expected at most {MAX_BYTES:,} bytes; use another copy")
        if sha256(path) != digest:
            raise AgentError(f"{path} is damaged: its SHA-256 differs from the one in {AGENT}; use another copy")
    return metadata


def trained_tensors(model: ActorCritic) -> dict[str, Tensor]:
    """Return the tensors that training changes, in a dict: name -> tensor. Sharded tensors stay sharded."""
    return {
        name: model.shards.get(name, parameter)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad or name.startswith("heads.target_q")
    }


@torch.no_grad()
def load_tensors(model: ActorCritic, tensors: Mapping[str, StoredTensor], source: Path) -> None:
    """Copy stored tensors into the trained tensors of `model`. The model's trunk must not be gathered."""
    parameters = trained_tensors(model)
    if differing_names := sorted(parameters.keys() ^ tensors.keys()):
        problem = f"{len(differing_names)} names differ, such as {differing_names[0]}"
        raise AgentError(f"{source}: the weights are of another model; {problem}")
    for name, parameter in parameters.items():
        if (shape := list(tensors[name].shape)) != list(parameter.shape):
            raise AgentError(f"{source}: {name} is {shape}, but the model needs {list(parameter.shape)}")
        parameter.copy_(local_rows(tensors[name], parameter))


def read_stored(folder: Path, file_name: str, metadata: Mapping[str, Any]) -> dict[str, StoredTensor]:
    """Return the tensors of a file and of its shard files, in a dict: name -> tensor. Shards are read on access."""
    return {**read_tensors(folder / file_name), **read_shards(folder, file_name, metadata["files"])}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file. Raise `AgentError` if it is damaged."""
    check_regular(path, AgentError)
    with tensor_errors(path):
        tensors = load_file(path)
        check_finite(tensors)
        return tensors


@contextmanager
def loading_tensors(source: Path) -> Iterator[None]:
    """Convert exceptions in the block to `AgentError`. The message says that `source` is of another run."""
    try:
        yield
    except AgentError:
        raise
    except (KeyError, ValueError, TypeError, RuntimeError, IndexError) as error:
        raise AgentError(f"{source} is of another run: {described(error)}; use another copy") from error


def read_json(path: Path) -> dict[str, Any]:
    return read_object(path, error=AgentError)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _digest(metadata: Mapping[str, Any]) -> str:
    return json_hash(json.loads(json.dumps({name: value for name, value in metadata.items() if name != "digest"})))
