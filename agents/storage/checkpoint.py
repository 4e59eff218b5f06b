"""Checkpoints: folders that hold an agent and, in a run, the state of its training.

docs/reference/files.md lists the files. A missing or damaged file raises `AgentError`. No file is unpickled.
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
from agents.storage.tensor_files import StoredTensor, part_for, read_shards, tensor_errors, write_tensors
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
    """Write a checkpoint folder atomically. It replaces an existing one.

    `dtype` is that of the stored weights. Raise `DivergenceError` if a tensor is not finite.
    """
    weights = {name: x.to(dtype or x.dtype) for name, x in trained_tensors(model).items()}
    check_finite(weights | dict(training or {}))
    with atomic_folder(folder) as work:
        write_agent(work, model, tokenizer, config, description, weights=weights, training=training, state=state)


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
    shards: Mapping[str, str] | None = None,
) -> None:
    """Write the files of a checkpoint into an existing folder.

    `weights` are the tensors that are not sharded. `shards` has the names and hashes of the shard files.
    """
    write_tensors(folder / WEIGHTS, weights)
    (folder / TOKENIZER).write_text(tokenizer.backend_tokenizer.to_str(), encoding="utf-8")
    if training is not None:
        write_tensors(folder / TRAINING, training)
        _write_json(folder / STATE, dict(state or {}))
    # the settings of the tokenizer that its JSON file does not store
    roles = {role: getattr(tokenizer, role) for role in ("pad_token", "unk_token", "bos_token", "eos_token")}
    roles["chat_template"] = getattr(tokenizer, "chat_template", None)
    hashes = dict(shards or {})
    hashes |= {path.name: sha256(path) for path in folder.iterdir() if path.name not in hashes}
    about = {
        "format": FORMAT,
        **description,
        "model": config.model_dump(),
        "config": None if config.lora else known_entries(model.base.config),
        "tokenizer": {**roles, "split_special_tokens": getattr(tokenizer, "split_special_tokens", False)},
        "files": dict(sorted(hashes.items())),
    }
    _write_json(folder / AGENT, about | {"digest": _digest(about)})


def load_agent(folder: Path, *, guide_beta: float | None = None, **sampling: Any) -> LanguageModelAgent:
    """Load the agent of a checkpoint, or of a run's newest checkpoint.

    Raise `AgentError` if a file is missing or damaged.

    Args:
        guide_beta: weight of q in the policy, in units of 1 / reward. By default, it is the checkpoint's value.
        sampling: seed, greedy, temperature and top_p of the `LanguageModelAgent`.
    """
    folder = newest(folder)
    about = verify(folder)
    model, tokenizer = load_model(folder, about)
    place = about.get("return_text")
    returns = ReturnText(place=place, wanted=about.get("wanted_return")) if place else None
    return LanguageModelAgent(
        model,
        tokenizer,
        name=str(about["name"]),
        prompt=prompt_format(about["prompt"], tokenizer, returns),
        mode=about["mode"],
        context=about["context"],
        guide_beta=about.get("guide_beta", 0.0) if guide_beta is None else guide_beta,
        **sampling,
    )


def load_model(folder: Path, about: Mapping[str, Any]) -> tuple[ActorCritic, Any]:
    """Load the model and the tokenizer of a checkpoint. `about` is the result of `verify`."""
    from transformers import PreTrainedTokenizerFast

    config, tensors = ModelConfig(**about["model"]), read_stored(folder, WEIGHTS, about)
    with library_errors(f"{folder / TOKENIZER} is no tokenizer"):
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_file=str(folder / TOKENIZER), clean_up_tokenization_spaces=False, **about["tokenizer"]
        )
    try:
        with library_errors(f"{folder / AGENT} does not describe a model that can be built"):
            model = build_model(config, about["config"], len(tokenizer), [tensor.nbytes for tensor in tensors.values()])
    except AgentError as error:
        if about["config"] is not None:
            raise
        raise AgentError(f"{folder} is an adapter of the model {config.trunk!r}: {error}") from error
    load_tensors(model, tensors, folder)
    return model.eval().to(PartialState().device), tokenizer


def load_pretrained(name: str, *, guide_beta: float | None = None, **sampling: Any) -> LanguageModelAgent:
    """Build an agent from a pretrained language model, with an untrained value head."""
    model, tokenizer = assemble(ModelConfig(trunk=name, q_heads=0), None)
    model = model.eval().to(PartialState().device)
    return LanguageModelAgent(model, tokenizer, name=name, guide_beta=guide_beta or 0.0, **sampling)


def newest(folder: Path) -> Path:
    """Return `folder` if it is a checkpoint, or the newest checkpoint of a run."""
    if (folder / AGENT).is_file():
        return folder
    if complete := checkpoints(folder):
        return complete[-1]
    expected = f"expected the folder of a run, with {FOLDER}/ in it, or of a checkpoint, with {AGENT}"
    raise AgentError(f"{folder} holds no checkpoint: {expected}")


def checkpoints(run: Path) -> list[Path]:
    """Return a run's complete checkpoints, oldest first."""
    return sorted(path for path in (run / FOLDER).glob("[0-9]*") if (path / AGENT).is_file())


def named_checkpoints(run: Path) -> dict[str, Path]:
    """Return a run's complete checkpoints by name, such as "best" or "000010"."""
    named = {name: run / name for name in (INITIAL, BEST) if (run / name / AGENT).is_file()}
    return named | {path.name: path for path in checkpoints(run)}


def verify(folder: Path, *, kind: str = "agent") -> dict[str, Any]:
    """Check every file of a checkpoint and return the content of `agent.json`."""
    about = read_json(folder / AGENT)
    if about.get("digest", "") not in ("", _digest(about)):
        raise AgentError(f"{folder / AGENT} is damaged: its content does not match its digest; use another copy")
    required = {name for name, field in AgentFile.model_fields.items() if field.is_required()}
    if about.get("format") != FORMAT or not required <= set(about):
        raise AgentError(f"{folder / AGENT} is not an agent of format {FORMAT}; it has {', '.join(sorted(about))}")
    validated(AgentFile, about, str(folder / AGENT), AgentError)
    if missing := {WEIGHTS, TOKENIZER} - set(about["files"]):
        raise AgentError(f"{folder / AGENT} is damaged: it has no hash of {sorted(missing)[0]}")
    if (stored := about.get("kind", "agent")) != kind:
        raise AgentError(f"{folder} holds a model of the kind {stored!r}, not {kind!r}")
    for name, expected in about["files"].items():
        path = folder / name
        if Path(name).name != name or len(name) > LONGEST_NAME or not path.is_file():
            raise AgentError(f"{path} is missing; the checkpoint is incomplete, use another copy")
        if path.suffix == ".json" and path.stat().st_size > MAX_BYTES:
            raise AgentError(f"{path} is damaged: expected at most {MAX_BYTES:,} bytes; use another copy")
        if sha256(path) != expected:
            raise AgentError(f"{path} is damaged: its SHA-256 differs from the one in {AGENT}; use another copy")
    return about


def trained_tensors(model: ActorCritic) -> dict[str, Tensor]:
    """Return the tensors that training changes, by name. Sharded tensors stay sharded."""
    return {
        name: model.shards.get(name, parameter)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad or name.startswith("heads.target_q")
    }


@torch.no_grad()
def load_tensors(model: ActorCritic, tensors: Mapping[str, StoredTensor], source: Path) -> None:
    """Copy stored values into the trained tensors of `model`. The trunk must not be gathered."""
    parameters = trained_tensors(model)
    if differing := sorted(parameters.keys() ^ tensors.keys()):
        names = f"{len(differing)} names differ, such as {differing[0]}"
        raise AgentError(f"{source}: the weights are of another model; {names}")
    for name, parameter in parameters.items():
        if (shape := list(tensors[name].shape)) != list(parameter.shape):
            raise AgentError(f"{source}: {name} is {shape}, but the model needs {list(parameter.shape)}")
        parameter.copy_(part_for(tensors[name], parameter))


def read_stored(folder: Path, file: str, about: Mapping[str, Any]) -> dict[str, StoredTensor]:
    """Return the tensors of `file` and of its shard files. Shards are read on access."""
    return {**read_tensors(folder / file), **read_shards(folder, file, about["files"])}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file. All numbers must be finite."""
    check_regular(path, AgentError)
    with tensor_errors(path):
        tensors = load_file(path)
        check_finite(tensors)
        return tensors


@contextmanager
def loading_tensors(source: Path) -> Iterator[None]:
    """Convert exceptions in the block to `AgentError`: the file `source` is of another run."""
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


def _digest(about: Mapping[str, Any]) -> str:
    return json_hash(json.loads(json.dumps({name: value for name, value in about.items() if name != "digest"})))
