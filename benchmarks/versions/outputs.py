"""Read the outputs of a scenario, and compare those of two versions value by value.

JSON is split into values. A tensor becomes its dtype, shape and SHA-256. Any other file becomes its SHA-256. In all
texts, the names of three folders are replaced: that of the scenario's outputs by {out}, that of the version's outputs
by {work}, and that of the checkout by {checkout}.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

Keys = tuple[str | int, ...]
Values = dict[Keys, Any]

WALL_CLOCK = {"seconds", "rollout_seconds", "update_seconds", "steps_per_second", "tokens_per_second", "peak_memory"}
"""Keys of numbers that differ between any two runs."""
DIGESTS = (
    "agent.json: digest",
    "agent.json: files/training.safetensors",
    "agent.json: files/state.json",
    "measures.json: of/agent",
    "card.json: rows/*/of/agent",
    "evaluate --card --json: rows/*/of/agent",
)
"""Hashes of files that contain such numbers: the document's kind and a pattern of its path."""
ONLY_EXIST = ("*.md", "*.svg", "events.out.tfevents.*", ".lock")
"""Prose, pictures and logs: files that only have to exist."""


def documents(folder: Path, checkout: Path) -> dict[str, Values]:
    """Return what a scenario wrote to `folder/out` and printed to `folder/log`: name of a file -> values by keys."""
    out = folder / "out"
    places = {str(out): "{out}", str(folder.parent): "{work}", str(checkout): "{checkout}"}
    found = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        name = re.sub(r"events\.out\.tfevents\..*", "events", str(path.relative_to(out)))
        found[name] = _values(path, places)
    for log in sorted((folder / "log").glob("*.json")):
        kind = log.with_suffix(".kind").read_text(encoding="utf-8")
        found[f"{log.stem}: {kind}"] = dict(leaves(json.loads(_neutral(log, places))))
    return found


def differences(before: dict[str, Values], after: dict[str, Values]) -> list[str]:
    """Return one line for each file or value that differs, is missing or is additional."""
    lines = [f"{name}: the new version did not write it" for name in before if name not in after]
    lines += [f"{name}: only the new version wrote it" for name in after if name not in before]
    for name in before.keys() & after.keys():
        kind = name.partition(": ")[2] or Path(name).name
        lines += [f"{name}: {line}" for line in _of_one(kind, before[name], after[name])]
    return sorted(lines)


def _of_one(kind: str, before: Values, after: Values) -> Iterator[str]:
    for keys, old in before.items():
        if keys not in after:
            yield f"{_path(keys)}: missing, was {_short(old)}"
        elif not _differs_in_any_run(kind, keys) and (type(old) is not type(after[keys]) or old != after[keys]):
            yield f"{_path(keys)}: {_short(old)} became {_short(after[keys])}"
    for keys in after.keys() - before.keys():
        yield f"{_path(keys)}: additional, is {_short(after[keys])}"


def _differs_in_any_run(kind: str, keys: Keys) -> bool:
    name = next((key for key in reversed(keys) if isinstance(key, str)), "")
    return name in WALL_CLOCK or any(fnmatch(f"{kind}: {_path(keys)}", rule) for rule in DIGESTS)


def _path(keys: Keys) -> str:
    return "/".join(map(str, keys))


def leaves(document: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Yield every leaf of a JSON document, with the keys and list indices that lead to it.

    A leaf contains no other values. Empty objects and lists are leaves.
    """
    if not isinstance(document, dict | list) or not document:
        yield keys, document
        return
    for key, value in document.items() if isinstance(document, dict) else enumerate(document):
        yield from leaves(value, (*keys, key))


def _values(path: Path, places: dict[str, str]) -> Values:
    if any(fnmatch(path.name, pattern) for pattern in ONLY_EXIST):
        return {(): "exists"}
    if path.suffix == ".safetensors":
        return tensors(path)
    if path.name == "tokenizer.json" or path.suffix not in (".json", ".jsonl"):
        return {(): hashlib.sha256(path.read_bytes()).hexdigest()}
    text = _neutral(path, places)
    return dict(leaves(list(map(json.loads, text.splitlines())) if path.suffix == ".jsonl" else json.loads(text)))


def tensors(path: Path) -> Values:
    """Return a dict from (name of a tensor,) to its dtype, its shape and the first 64 bits of the SHA-256 of its bytes.

    The header is read as JSON, because NumPy lacks bfloat16 and tensors need not be loaded to be hashed.
    """
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    found: Values = {}
    for name, about in header.items():
        if name != "__metadata__":
            begin, end = about["data_offsets"]
            digest = hashlib.sha256(data[start + begin : start + end]).hexdigest()[:16]
            found[(name,)] = f"{about['dtype']} {about['shape']} {digest}"
    return found


def _neutral(path: Path, places: dict[str, str]) -> str:
    text = path.read_text(encoding="utf-8")
    for place, name in places.items():
        text = text.replace(place, name)
    return text


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:80]}... ({len(text)} characters)"
