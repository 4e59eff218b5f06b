"""Checkpoints: a folder of safetensors and JSON that holds an agent and, in a run, everything to go on with.

An agent's folder has `agent.json` (what to assemble, with the hash of every other file), `model.safetensors`
(what was trained: the whole model, or adapter and heads) and the tokenizer. A run's checkpoint has
`training.safetensors` and `state.json` besides. A folder is written under another name and renamed when it is
whole; every file is checked by its hash before it is used. Nothing is ever unpickled.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from actde.errors import ConfigError
from agents.config import ModelConfig
from agents.language_model.agent import LanguageModelAgent
from agents.model.actor_critic import ActorCritic
from agents.model.build import assemble, build_model
from agents.protocol import AgentError
from agents.text.prompt import prompt_format
from games.files import atomic_folder, sha256

FORMAT = 2
AGENT, WEIGHTS, TOKENIZER = "agent.json", "model.safetensors", "tokenizer.json"
STATE, TRAINING = "state.json", "training.safetensors"
FOLDER = "checkpoints"
"""Where a run keeps its checkpoints, one folder each, named by the number of finished iterations."""


def save_agent(
    folder: Path,
    model: ActorCritic,
    tokenizer: Any,
    assembly: ModelConfig,
    description: Mapping[str, Any],
    *,
    dtype: torch.dtype | None = None,
    training: Mapping[str, Tensor] | None = None,
    state: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint folder, whole or not at all; an existing one of that name is replaced.

    Args:
        description: name, prompt, mode and context of the agent, and how it was made; JSON-able.
        dtype: store the weights in this type (float16 halves what ships); None: as they are.
        training: tensors that only training needs.
        state: numbers that only training needs; JSON-able.
    """
    with atomic_folder(folder) as work:
        weights = {name: tensor.to(dtype) if dtype else tensor for name, tensor in trained_tensors(model).items()}
        _write_tensors(work / WEIGHTS, weights)
        tokenizer.backend_tokenizer.save(str(work / TOKENIZER))
        if training is not None:
            _write_tensors(work / TRAINING, training)
            _write_json(work / STATE, dict(state or {}))
        hashes = {path.name: sha256(path) for path in sorted(work.iterdir())}
        config = None if assembly.lora else model.base.config.to_dict()
        about = {
            "format": FORMAT,
            **description,
            "model": assembly.model_dump(),
            "config": config,
            "tokenizer": _tokenizer_roles(tokenizer),
            "files": hashes,
        }
        _write_json(work / AGENT, about | {"digest": _digest(about)})


def load_agent(folder: Path, *, seed: int = 0, greedy: bool = False) -> LanguageModelAgent:
    """The agent in a checkpoint folder, or the newest one of a run, on this machine's GPU where it has one.

    Raises:
        AgentError: a file is missing, damaged, of another format, or does not fit the model.
    """
    folder = newest(folder)
    about = verify(folder)
    assembly = _assembly(about, folder)
    tokenizer = _load_tokenizer(folder, about)
    model = build_model(assembly, about["config"], len(tokenizer))
    load_tensors(model, read_tensors(folder / WEIGHTS), folder)
    return LanguageModelAgent(
        model.eval().to(PartialState().device),
        tokenizer,
        name=str(about["name"]),
        prompt=prompt_format(about["prompt"]),
        mode=about["mode"],
        context=about["context"],
        seed=seed,
        greedy=greedy,
    )


def load_pretrained(name: str, *, seed: int = 0, greedy: bool = False) -> LanguageModelAgent:
    """A pretrained decoder as it is, heads untrained: plays zero-shot."""
    model, tokenizer = assemble(ModelConfig(trunk=name, q_heads=0), None)
    return LanguageModelAgent(model.eval().to(PartialState().device), tokenizer, name=name, seed=seed, greedy=greedy)


def newest(folder: Path) -> Path:
    """The checkpoint in `folder`: itself, or the newest one where it is a run.

    Raises:
        AgentError: there is none.
    """
    if (folder / AGENT).is_file():
        return folder
    found = checkpoints(folder)
    if not found:
        raise AgentError(f"{folder} holds no checkpoint: expected {AGENT}, or {FOLDER}/ with one, in it")
    return found[-1]


def checkpoints(run: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    return sorted(path for path in (run / FOLDER).glob("[0-9]*") if (path / AGENT).is_file())


def verify(folder: Path) -> dict[str, Any]:
    """What `agent.json` says, after every file that it names was found whole.

    Raises:
        AgentError: the folder is not a checkpoint of this format, or a file is missing or altered.
    """
    about = read_json(folder / AGENT)
    if about.get("digest", "") not in ("", _digest(about)):
        raise AgentError(f"{folder / AGENT} is damaged: its content does not have its digest; use another copy")
    wanted = {"format", "name", "prompt", "mode", "context", "model", "config", "tokenizer", "files"}
    if about.get("format") != FORMAT or not wanted <= set(about) or not isinstance(about["files"], dict):
        raise AgentError(f"{folder / AGENT} is not an agent of format {FORMAT}; it has {sorted(about)}")
    for name, expected in about["files"].items():
        path = folder / name
        if Path(name).name != name or not path.is_file():
            raise AgentError(f"{path} is missing; the checkpoint is not whole, use another copy")
        if sha256(path) != expected:
            raise AgentError(f"{path} is damaged: its SHA-256 is not the one in {AGENT}; use another copy")
    return about


def trained_tensors(model: ActorCritic) -> dict[str, Tensor]:
    """Name -> tensor of everything that training can change: parameters with gradient, and target heads."""
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad or name.startswith("heads.target_q")
    }


@torch.no_grad()
def load_tensors(model: ActorCritic, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Put tensors into the model that `trained_tensors` once took from one like it.

    Raises:
        AgentError: names or shapes differ.
    """
    wanted = trained_tensors(model)
    if set(wanted) != set(tensors):
        odd = sorted(set(wanted) ^ set(tensors))
        raise AgentError(f"{source}: the weights are of another model; {len(odd)} names differ, such as {odd[0]}")
    for name, parameter in wanted.items():
        if parameter.shape != tensors[name].shape:
            raise AgentError(
                f"{source}: {name} is {list(tensors[name].shape)}, but the model needs {list(parameter.shape)}"
            )
        parameter.copy_(tensors[name])


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; AgentError where it is not one."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise AgentError(f"{path} is not a whole safetensors file: {error}") from None
    except FileNotFoundError:
        raise AgentError(f"{path} is missing") from None


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; AgentError where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except FileNotFoundError:
        raise AgentError(f"{path} is missing") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise AgentError(f"{path} is damaged: {error}") from None
    if not isinstance(value, dict):
        raise AgentError(f"{path} is damaged: expected a JSON object, got {type(value).__name__}")
    return value


def _no_constant(name: str) -> None:
    raise json.JSONDecodeError(f"{name} is not JSON", name, 0)


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """A safetensors file, written here so that a full disk is an OSError as everywhere."""
    path.write_bytes(save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}))


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=1, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


def _digest(about: Mapping[str, Any]) -> str:
    """SHA-256 of all that `agent.json` says besides."""
    plain = json.loads(json.dumps({name: value for name, value in about.items() if name != "digest"}))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _assembly(about: Mapping[str, Any], folder: Path) -> ModelConfig:
    try:
        return ModelConfig(**about["model"])
    except (ConfigError, TypeError) as error:
        raise AgentError(f"{folder / AGENT} does not describe a model: {error}") from None


def _tokenizer_roles(tokenizer: Any) -> dict[str, Any]:
    """The few settings of a tokenizer that its JSON file does not hold."""
    roles = {role: getattr(tokenizer, role) for role in ("pad_token", "unk_token", "eos_token")}
    return {**roles, "split_special_tokens": bool(getattr(tokenizer, "split_special_tokens", False))}


def _load_tokenizer(folder: Path, about: Mapping[str, Any]) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_file=str(folder / TOKENIZER), clean_up_tokenization_spaces=False, **about["tokenizer"]
    )
