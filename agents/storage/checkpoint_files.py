"""The files of a checkpoint. This module does not import torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.protocol import AgentError
from agents.storage.schema import AgentFile
from games.files import json_hash, sha256
from games.untrusted_files import MAX_BYTES, read_object, validated

FORMAT = 2  # JSON and safetensors files; nothing is unpickled
LONGEST_NAME = 60  # characters of a file's name; systems refuse names of more than 255 bytes
AGENT, WEIGHTS, TOKENIZER = "agent.json", "model.safetensors", "tokenizer.json"
STATE, TRAINING = "state.json", "training.safetensors"
FOLDER = "checkpoints"  # a run's subfolder of checkpoints, each named by its number of finished iterations
INITIAL, BEST = "initial", "best"  # a run's checkpoints of the policy before training, and of the best evaluation


def newest(folder: Path) -> Path:
    """Return the newest checkpoint of a run. Return the folder of a checkpoint unchanged."""
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
    """Return a dict: checkpoint name, such as "best" or "000010" -> folder."""
    by_name = {name: run / name for name in (INITIAL, BEST) if (run / name / AGENT).is_file()}
    return by_name | {path.name: path for path in checkpoints(run)}


def verify(folder: Path, *, kind: str = "agent") -> dict[str, Any]:
    """Check every file of a checkpoint and return the content of `agent.json`."""
    metadata = read_json(folder / AGENT)
    if metadata.get("digest", "") not in ("", digest_of(metadata)):
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


def read_json(path: Path) -> dict[str, Any]:
    return read_object(path, error=AgentError)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def digest_of(metadata: Mapping[str, Any]) -> str:
    return json_hash(json.loads(json.dumps({name: value for name, value in metadata.items() if name != "digest"})))
