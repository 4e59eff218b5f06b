"""Checks a trunk's configuration before the `transformers` library reads it.

Some keys would make the library run third-party code or download files. Some numbers would exhaust the memory.
"""

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
"""Keys that are ignored in a model folder, like unknown keys with a leading underscore."""
LEGACY = {"torch_dtype", "rope_scaling", "num_labels", "use_return_dict", "name_or_path", "output_attentions"}
DTYPES = {None, "float32", "float16", "bfloat16", "float64"}
MAX_LAYERS = 10_000
MAX_LENGTH = 1_000_000
"""`MAX_LAYERS` limits each number of layers in a configuration, `MAX_LENGTH` the length of each list or text."""


@contextmanager
def library_errors(what: str) -> Iterator[None]:
    """Convert errors of libraries to an `AgentError` that begins with `what`."""
    try:
        yield
    except Exception as error:  # damaged data can raise any class
        *_, (innermost, _) = traceback.walk_tb(error.__traceback__)
        ours = innermost.f_globals["__name__"].startswith("agents.")  # a built-in exception of ours is a bug
        if isinstance(error, AgentError) or (ours and type(error).__module__ == "builtins"):
            raise
        raise AgentError(f"{what}: {described(error)}") from error


def trunk_config_of(stored: Mapping[str, Any], where: str, *, ours: bool) -> Any:
    """Build a configuration of the `transformers` library from the JSON object `stored`.

    `where` names it in errors. If `ours`, it comes from a checkpoint, which must not have unknown keys.
    """
    from transformers import CONFIG_MAPPING

    kind = stored.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        raise AgentError(f"{where} is not one of transformers' decoders: its model_type is {kind!r:.60}")
    with library_errors(f"{where} is invalid"):
        cls = CONFIG_MAPPING[kind]
        return cls(**_checked(cls, stored, where, ours=ours))


def _checked(cls: Any, stored: Mapping[str, Any], where: str, *, ours: bool) -> dict[str, Any]:
    known, kept = _keys(cls), dict[str, Any]()
    for key, value in stored.items():
        selects_code = CODE.search(key) is not None
        ignored = key in IGNORED or (key.startswith("_") and not selects_code and key not in known)
        if key == "_name_or_path" or (ignored and not ours):
            continue
        if key not in known and (ours or selects_code or (hasattr(cls, key) and key not in LEGACY)):
            raise AgentError(f"{where} has the key {key!r:.60}, which is not allowed for {cls.model_type!r}; remove it")
        if nested := _nested_class(cls, key, value):
            value = _checked(nested, value, f"{where}, {key}", ours=ours)
        else:
            _check_value(key, value, where)
        kept[key] = value
    return kept


def _nested_class(cls: Any, key: str, value: Any) -> Any:
    from transformers import CONFIG_MAPPING

    part = getattr(cls, "sub_configs", {}).get(key)
    if part is None or not isinstance(value, dict):
        return None
    kind = value.get("model_type")
    return CONFIG_MAPPING[kind] if isinstance(kind, str) and kind in CONFIG_MAPPING else part


def known_entries(config: Any) -> dict[str, Any]:
    """Return the entries of a configuration that a checkpoint stores."""
    return _known(type(config), config.to_dict())


def _known(cls: Any, stored: Mapping[str, Any]) -> dict[str, Any]:
    known = _keys(cls)
    kept = {key: value for key, value in stored.items() if key in known}
    for key, value in kept.items():
        if nested := _nested_class(cls, key, value):
            kept[key] = _known(nested, value)
    return kept


def _keys(cls: Any) -> set[str]:
    """Return the keys that the library writes for `cls`, and their older names."""
    names = {field.name for field in dataclasses.fields(cls)} | {"model_type"} | set(cls.attribute_map)
    try:
        return names | set(cls().to_dict())
    except (ValueError, TypeError, AttributeError):  # some classes have no usable defaults
        return names


def _check_value(key: str, value: Any, where: str) -> None:
    if key in ("dtype", "torch_dtype") and value not in DTYPES:
        raise AgentError(f"{where} has the {key} {value!r:.60}; expected {', '.join(sorted(map(str, DTYPES)))}")
    if isinstance(value, int) and "layer" in key and not key.startswith("vocab_size") and value > MAX_LAYERS:
        raise AgentError(f"{where} has {key}={value}; expected at most {MAX_LAYERS:,}")
    if isinstance(value, str | list) and len(value) > MAX_LENGTH:
        raise AgentError(f"{where} has a {key} of length {len(value):,}; expected at most {MAX_LENGTH:,}")
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for inner, item in items:
        if CODE.search(str(inner)):
            raise AgentError(f"{where} has the key {inner!r:.60} in {key}, which selects code; remove it")
        _check_value(f"{key}.{inner}", item, where)


def check_size(auto_class: Any, config: Any, where: str, tensors: int, size: int) -> None:
    """Raise `AgentError` if a model is far larger than its weights, which have `size` bytes."""
    modules = 0

    def count(*registered: Any) -> None:
        nonlocal modules
        modules += 1
        if modules > 1000 + 50 * tensors:
            raise AgentError(f"{where} describes more layers than its {tensors} weights; expected those of the weights")

    hook = register_module_module_registration_hook(count)
    try:
        # on this device, no memory is allocated
        with torch.random.fork_rng(devices=[]), torch.device("meta"), library_errors(f"{where} describes no model"):
            model: nn.Module = auto_class.from_config(config, trust_remote_code=False)
    finally:
        hook.remove()
    numbers = sum(x.numel() for x in (*model.parameters(), *model.buffers()))
    if numbers * 4 > 10**8 + 8 * size:
        raise AgentError(f"{where} describes a model of {numbers:,} numbers, but its weights have {size:,} bytes")
