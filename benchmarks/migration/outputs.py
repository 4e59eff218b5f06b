"""Read the outputs of a scenario, and compare those of two versions value by value.

JSON is split into values. A tensor becomes its dtype, shape and SHA-256. Any other file becomes its SHA-256. In all
texts, the names of three folders are replaced: that of the scenario's outputs by {out}, that of the version's outputs
by {work}, and that of the checkout by {checkout}.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from benchmarks.migration.key_map import KeyMap, Keys, leaves, match, shown

Values = dict[Keys, Any]
EXISTS = "exists"


def documents(folder: Path, checkout: Path, names: KeyMap, *, translated: bool) -> dict[str, Values]:
    """Return all that a scenario wrote to `folder/out` and printed to `folder/log`: name of a file -> values by path.

    Args:
        translated: whether the key map translates the names.
    """
    found: dict[str, Values] = {}
    out = folder / "out"
    places = {str(out): "{out}", str(folder.parent): "{work}", str(checkout): "{checkout}"}
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        inside = path.relative_to(out)
        name = str(names.file(inside) if translated else inside)
        values, kind = _values(path, places, names), path.name
        found[re.sub(r"events\.out\.tfevents\..*", "events", name)] = _renamed(kind, values, names, translated)
    for log in sorted((folder / "log").glob("*.json")):
        kind = log.with_suffix(".kind").read_text(encoding="utf-8")
        values = dict(leaves(json.loads(_neutral(log, places))))
        found[f"{log.stem}: {kind}"] = _renamed(kind, values, names, translated)
    return found


def differences(before: dict[str, Values], after: dict[str, Values], names: KeyMap) -> list[str]:
    """Return one line for each file or value that differs, is missing or is additional.

    `before` must have its new names already.
    """
    lines = [f"{name}: the new version did not write it" for name in before if name not in after]
    lines += [f"{name}: only the new version wrote it" for name in after if name not in before]
    for name in before:
        if name in after:
            kind = name.partition(": ")[2] or Path(name).name
            lines += [f"{name}: {line}" for line in _of_one(kind, before[name], after[name], names)]
    return lines


def _of_one(kind: str, before: Values, after: Values, names: KeyMap) -> list[str]:
    lines = []
    for keys, old in before.items():
        if keys not in after:
            if not _rewritten(kind, keys, names):
                lines.append(f"{shown(keys)}: missing, was {_short(old)}")
        elif not _ignored(kind, keys, names) and (type(old) is not type(after[keys]) or old != after[keys]):
            lines.append(f"{shown(keys)}: {_short(old)} became {_short(after[keys])}")
    for keys in after.keys() - before.keys():
        expected = [value for rule, value in names.added.get(kind, {}).items() if match(rule + "$", keys) is not None]
        if after[keys] not in expected:
            lines.append(f"{shown(keys)}: additional, is {_short(after[keys])}")
    return lines


def _ignored(kind: str, keys: Keys, names: KeyMap) -> bool:
    name = next((key for key in reversed(keys) if isinstance(key, str)), "")
    digest = _listed(kind, keys, [f"{rule}$" for rule in names.not_compared["digests"]])
    return digest or name in names.not_compared["wall_clock"] or _rewritten(kind, keys, names)


def _rewritten(kind: str, keys: Keys, names: KeyMap) -> bool:
    return _listed(kind, keys, names.not_compared["rewritten_texts"])


def _listed(kind: str, keys: Keys, rules: Sequence[str]) -> bool:
    """Return whether one of the rules KIND/PATH matches the keys of a document of this kind."""
    return any(match(r.removeprefix(f"{kind}/"), keys) is not None for r in rules if r.startswith(f"{kind}/"))


def _renamed(kind: str, values: Values, names: KeyMap, translated: bool) -> Values:
    if not translated:
        return values
    return dict(leaf for keys, value in values.items() if (leaf := names.leaf(kind, keys, value)) is not None)


def _values(path: Path, places: dict[str, str], names: KeyMap) -> Values:
    if any(fnmatch(path.name, pattern) for pattern in names.not_compared["prose_and_pictures"]):
        return {(): EXISTS}
    if path.suffix == ".safetensors":
        return tensors(path)
    if path.name == "tokenizer.json" or path.suffix not in (".json", ".jsonl"):
        return {(): hashlib.sha256(path.read_bytes()).hexdigest()}
    text = _neutral(path, places)
    lines = path.suffix == ".jsonl"
    return dict(leaves([json.loads(line) for line in text.splitlines()] if lines else json.loads(text)))


def tensors(path: Path) -> Values:
    """Return a mapping from each tensor's name, split at its dots, to the tensor's dtype, shape and hash.

    The hash consists of the first 64 bits of the SHA-256 of the tensor's bytes.
    """
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    found: Values = {}
    for name, about in header.items():
        if name != "__metadata__":
            begin, end = about["data_offsets"]
            digest = hashlib.sha256(data[start + begin : start + end]).hexdigest()[:16]
            found[tuple(name.split("."))] = f"{about['dtype']} {about['shape']} {digest}"
    return found


def _neutral(path: Path, places: dict[str, str]) -> str:
    text = path.read_text(encoding="utf-8")
    for place, name in places.items():
        text = text.replace(place, name)
    return text


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:80]}... ({len(text)} characters)"
