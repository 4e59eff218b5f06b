"""Rejects configurations with which `transformers` would run foreign code, download files or exhaust the memory."""

import dataclasses
import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook

from agents.protocol import AgentError
from games.errors import described

CODE = re.compile(
    r"attn_implementation|experts_implementation|auto_map|quantization|compression_config|kernel_config|use_kernel"
    r"|custom_pipelines|trust_remote|code_revision"
)
"""Matches keys that select code or packages."""
IGNORED = {"auto_map", "custom_pipelines", "_attn_implementation_autoset"}
"""Keys that are ignored in a model folder. Unknown keys with a leading underscore are ignored, too."""
LEGACY = {"torch_dtype", "rope_scaling", "num_labels", "use_return_dict", "name_or_path", "output_attentions"}
DTYPES = {None, "float32", "float16", "bfloat16", "float64"}
MAX_LAYERS = 10_000
MAX_LENGTH = 1_000_000
"""`MAX_LAYERS` limits each number of layers, and `MAX_LENGTH` limits the length of each list or text."""


@contextmanager
def library_errors(message: str) -> Iterator[None]:
    """Within the context, convert a library's error to an AgentError with the prefix `message`."""
    try:
        yield
    except Exception as error:  # damaged data can raise any class
        *_, (innermost, _) = traceback.walk_tb(error.__traceback__)
        in_project = innermost.f_globals["__name__"].startswith("agents.")  # where a built-in exception is a bug
        if isinstance(error, AgentError) or (in_project and type(error).__module__ == "builtins"):
            raise
        raise AgentError(f"{message}: {described(error)}") from error


def trunk_config_of(stored: Mapping[str, Any], source: str, *, from_checkpoint: bool) -> Any:
    """Build a transformers configuration from parsed JSON.

    `source` names the JSON in error messages. If `from_checkpoint` is True, unknown keys are errors.
    """
    from transformers import CONFIG_MAPPING

    model_type = stored.get("model_type")
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        raise AgentError(f"{source} is not one of transformers' decoders: its model_type is {model_type!r:.60}")
    with library_errors(f"{source} is invalid"):
        cls = CONFIG_MAPPING[model_type]
        return cls(**_checked_entries(cls, stored, source, from_checkpoint=from_checkpoint))


def _checked_entries(cls: Any, stored: Mapping[str, Any], source: str, *, from_checkpoint: bool) -> dict[str, Any]:
    known_keys, entries = _keys(cls), dict[str, Any]()
    for key, value in stored.items():
        selects_code = CODE.search(key) is not None
        ignored = key in IGNORED or (key.startswith("_") and not selects_code and key not in known_keys)
        if key == "_name_or_path" or (ignored and not from_checkpoint):
            continue
        if key not in known_keys and (from_checkpoint or selects_code or (hasattr(cls, key) and key not in LEGACY)):
            raise AgentError(
                f"{source} has the key {key!r:.60}, which is not allowed for {cls.model_type!r}; remove it"
            )
        if nested := _nested_class(cls, key, value):
            value = _checked_entries(nested, value, f"{source}, {key}", from_checkpoint=from_checkpoint)
        else:
            _check_value(key, value, source)
        entries[key] = value
    return entries


def _nested_class(cls: Any, key: str, value: Any) -> Any:
    from transformers import CONFIG_MAPPING

    default_class = getattr(cls, "sub_configs", {}).get(key)
    if default_class is None or not isinstance(value, dict):
        return None
    model_type = value.get("model_type")
    return CONFIG_MAPPING[model_type] if isinstance(model_type, str) and model_type in CONFIG_MAPPING else default_class


def known_entries(config: Any) -> dict[str, Any]:
    """Return a configuration as a dict, with only the keys that transformers knows."""
    return _known_entries(type(config), config.to_dict())


def _known_entries(cls: Any, stored: Mapping[str, Any]) -> dict[str, Any]:
    known_keys = _keys(cls)
    entries = {key: value for key, value in stored.items() if key in known_keys}
    for key, value in entries.items():
        if nested := _nested_class(cls, key, value):
            entries[key] = _known_entries(nested, value)
    return entries


def _keys(cls: Any) -> set[str]:
    """Return the keys of a configuration class, including older names of keys."""
    names = {field.name for field in dataclasses.fields(cls)} | {"model_type"} | set(cls.attribute_map)
    try:
        return names | set(cls().to_dict())
    except (ValueError, TypeError, AttributeError):  # some classes have no usable defaults
        return names


def _check_value(key: str, value: Any, source: str) -> None:
    if key in ("dtype", "torch_dtype") and value not in DTYPES:
        raise AgentError(f"{source} has the {key} {value!r:.60}; expected {', '.join(sorted(map(str, DTYPES)))}")
    if isinstance(value, int) and "layer" in key and not key.startswith("vocab_size") and value > MAX_LAYERS:
        raise AgentError(f"{source} has {key}={value}; expected at most {MAX_LAYERS:,}")
    if isinstance(value, str | list) and len(value) > MAX_LENGTH:
        raise AgentError(f"{source} has a {key} of length {len(value):,}; expected at most {MAX_LENGTH:,}")
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for inner_key, item in items:
        if CODE.search(str(inner_key)):
            raise AgentError(f"{source} has the key {inner_key!r:.60} in {key}, which selects code; remove it")
        _check_value(f"{key}.{inner_key}", item, source)


def check_size(auto_class: Any, config: Any, source: str, tensor_count: int, weight_bytes: int) -> None:
    """Raise `AgentError` if `config` describes a far larger model than the stored weights."""
    modules = 0

    def count_module(*registered: Any) -> None:
        nonlocal modules
        modules += 1
        if modules > 1000 + 50 * tensor_count:
            raise AgentError(
                f"{source} describes more layers than its {tensor_count} weights; expected those of the weights"
            )

    hook = register_module_module_registration_hook(count_module)
    try:
        # on this device, no memory is allocated
        with torch.random.fork_rng(devices=[]), torch.device("meta"), library_errors(f"{source} describes no model"):
            model: nn.Module = auto_class.from_config(config, trust_remote_code=False)
    finally:
        hook.remove()
    numbers = sum(x.numel() for x in (*model.parameters(), *model.buffers()))
    if numbers * 4 > 10**8 + 8 * weight_bytes:
        raise AgentError(
            f"{source} describes a model of {numbers:,} numbers, but its weights have {weight_bytes:,} bytes"
        )
