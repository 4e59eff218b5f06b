"""A seeded generator of faults in files.

A fault replaces a whole file, a value of a JSON document, a line of a JSON Lines file, or a part of a safetensors file.
Checksums are meant to detect accidents, not attacks. After every fault except changed bytes, `faults.files` therefore
computes the file's checksums again, so that the other checks are tested.
"""

import json
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HUGE = 1 << 30  # bytes; no reader may accept such a file
DEEP = 200_000
DIGITS = 5_000
PLACEHOLDER = "@fault@"
# contents that replace a whole file
TEXTS = {
    "nothing": b"", "blank": b" \n", "null": b"null\n", "list": b"[]\n", "object": b"{}\n", "number": b"5\n",
    "not UTF-8": b'{"a": "\xff\xfe"}\n', "NUL bytes": bytes(64), "cut": b'{"a": [1, 2', "two documents": b"{}\n{}\n",
    "deep lists": b"[" * DEEP + b"]" * DEEP, "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "unclosed lists": b"[" * DEEP, "digits": b"1" * DIGITS, "digits in an object": b'{"a": ' + b"1" * DIGITS + b"}\n",
    "NaN": b'{"a": NaN}\n', "overflow": b'{"a": 1e400}\n', "half a surrogate pair": b'{"a": "\\ud800"}\n',
}  # fmt: skip
# JSON literals that replace a value
VALUES = {
    "null": "null", "true": "true", "minus one": "-1", "half": "0.5", "million": "1000000", "billion": "1000000000",
    "10^18": "1000000000000000000", "10^30": "1" + "0" * 30, "digits": "1" * DIGITS, "1e308": "1e308",
    "overflow": "1e400", "NaN": "NaN", "Infinity": "-Infinity", "empty text": '""', "NUL": '"\\u0000"',
    "long text": '"' + "x" * 100_000 + '"', "path": '"../../etc/passwd"', "device": '"/dev/zero"',
    "half a surrogate pair": '"\\udfff"', "empty list": "[]", "empty object": "{}", "list of null": "[null]",
    "object of null": '{"a": null}', "long list": "[" + "0," * 100_000 + "0]", "deep": "[" * DEEP + "]" * DEEP,
    "deep object": '{"a":' * DEEP + "1" + "}" * DEEP, "negative list": "[-1, -2]", "tuple of texts": '["a", "b"]',
}  # fmt: skip
# keys that are added to an object, and whose values may name code
KEYS = (
    "attn_implementation", "_attn_implementation", "auto_map", "quantization_config", "kernel_config",
    "experts_implementation", "torch_dtype", "trust_remote_code", "__class__", "unknown",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class FileFault:
    """A fault in one file. Its random choices depend only on the file, the kind (a key of `KINDS`) and the seed."""

    command: str
    file: str
    kind: str
    seed: int

    def apply(self, folder: Path) -> str:
        """Damage the file and return a description."""
        rng, path = random.Random(f"{self.file} {self.kind} {self.seed}"), folder / self.file
        return f"{self.file}: {KINDS[self.kind](path, rng)}"


def kinds_of(file: str) -> tuple[str, ...]:
    """Return the kinds of faults that apply to a file of this name. Kinds that are tried more often are repeated."""
    general = ("content", "special", "bytes", "missing")
    return general + {".json": ("value", "value", "value", "key"), ".jsonl": ("line", "line", "line value"),
                      ".safetensors": ("header", "header")}.get(Path(file).suffix, ())  # fmt: skip


def _content(path: Path, rng: random.Random) -> str:
    name = rng.choice(list(TEXTS))
    path.write_bytes(TEXTS[name])
    return name


def _special(path: Path, rng: random.Random) -> str:
    path.unlink()

    def sparse() -> None:
        with path.open("wb") as file:
            file.truncate(HUGE)

    makers: dict[str, Callable[[], object]] = {
        "FIFO": lambda: os.mkfifo(path),
        "/dev/zero": lambda: path.symlink_to("/dev/zero"),
        "/dev/null": lambda: path.symlink_to("/dev/null"),
        "/dev/stdin": lambda: path.symlink_to("/dev/stdin"),
        "folder": path.mkdir,
        "link to itself": lambda: path.symlink_to(path.name),
        "dangling link": lambda: path.symlink_to("nowhere"),
        "huge": sparse,
    }
    name = rng.choice(list(makers))
    makers[name]()
    return name


def _bytes(path: Path, rng: random.Random) -> str:
    data = bytearray(path.read_bytes())
    at = rng.randrange(len(data))
    match what := rng.choice(("flipped bit", "truncated", "deleted bytes", "inserted bytes")):
        case "flipped bit":
            data[at] ^= 1 << rng.randrange(8)
        case "truncated":
            del data[at:]
        case "deleted bytes":
            del data[at : at + rng.randrange(1, 40)]
        case _:
            data[at:at] = rng.randbytes(rng.randrange(1, 20))
    path.write_bytes(data)
    return f"{what} at {at}"


def _missing(path: Path, rng: random.Random) -> str:
    path.unlink()
    return "missing"


def _value(path: Path, rng: random.Random) -> str:
    document, what = _with_fault(json.loads(path.read_bytes()), rng)
    path.write_text(document)
    return what


def _key(path: Path, rng: random.Random) -> str:
    document = json.loads(path.read_bytes())
    objects = [(where, value) for where, value in _places(document) if isinstance(value, dict)]
    where, chosen = rng.choice(objects) if objects else ("", document)
    if isinstance(chosen, dict) and chosen and rng.random() < 0.5:
        key = rng.choice(sorted(chosen))
        del chosen[key]
        what = f"{where} without {key}"
    else:
        key = rng.choice(KEYS)
        if isinstance(chosen, dict):
            chosen[key] = rng.choice(["org/kernel", {"AutoConfig": "org/code--file.Class"}, "flash_attention_3", 7])
        what = f"{where} with {key}"
    path.write_text(json.dumps(document))
    return what


LINE_FAULTS = ("deleted", "repeated", "all reversed", "cut", "blank", "replaced", "joined",
               "replaced by a hostile text")  # fmt: skip


def _line(path: Path, rng: random.Random) -> str:
    lines = path.read_text().splitlines(keepends=True)
    at = rng.randrange(len(lines))
    match what := rng.choice(LINE_FAULTS):
        case "deleted":
            del lines[at]
        case "repeated":
            lines.insert(at, lines[at])
        case "all reversed":
            lines.reverse()
        case "cut":
            lines[at] = lines[at][: rng.randrange(len(lines[at]))]
        case "blank":
            lines[at] = "\n"
        case "replaced":
            lines[at] = rng.choice(["{}\n", "[]\n", "null\n", "7\n", '{"iteration": 0}\n'])
        case "joined":
            lines[at] = lines[at].rstrip("\n")
        case _:
            lines[at] = rng.choice(list(TEXTS.values())).decode("latin-1") + "\n"
    path.write_text("".join(lines))
    return f"line {at + 1} {what}"


def _line_value(path: Path, rng: random.Random) -> str:
    lines = path.read_text().splitlines(keepends=True)
    at = rng.randrange(len(lines))
    lines[at], what = _with_fault(json.loads(lines[at]), rng)
    path.write_text("".join(lines) + "\n" * (at == len(lines) - 1))
    return f"line {at + 1}, {what}"


def _header(path: Path, rng: random.Random) -> str:
    """Change the JSON header of a safetensors file, or the number that states the length of the header."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    if rng.random() < 0.2:
        wrong = rng.choice([0, 1, 2**31, 2**63, 2**64 - 1, size + 1])
        path.write_bytes(wrong.to_bytes(8, "little") + data[8:])
        return f"header of {wrong} bytes"
    document = json.loads(data[8 : 8 + size])
    if rng.random() < 0.3:
        document |= {f"more{i}": value for i, value in enumerate(document.values())}
        text, what = json.dumps(document), "tensors that overlap"
    else:
        text, what = _with_fault(document, rng)
    path.write_bytes(len(text.encode()).to_bytes(8, "little") + text.encode() + data[8 + size :])
    return what


def _with_fault(document: Any, rng: random.Random) -> tuple[str, str]:
    """Replace a random value. Return a tuple (text of the document, description of the fault)."""
    if not (slots := list(_slots(document))):
        return "null", "whole document: null"
    where, container, key = rng.choice(slots)
    name = rng.choice(list(VALUES))
    container[key] = PLACEHOLDER
    return json.dumps(document).replace(f'"{PLACEHOLDER}"', VALUES[name], 1), f"{where} = {name}"


def _places(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    yield where, value
    for place, container, key in _slots(value, where, deep=False):
        yield from _places(container[key], place)


def _slots(value: Any, where: str = "", *, deep: bool = True) -> Iterator[tuple[str, Any, Any]]:
    """Yield (path, container, key) for every value of a document, and for the first 3 items of each list."""
    keys = list(value) if isinstance(value, dict) else range(min(len(value), 3)) if isinstance(value, list) else ()
    for key in keys:
        yield f"{where}.{key}", value, key
        if deep:
            yield from _slots(value[key], f"{where}.{key}")


KINDS: dict[str, Callable[[Path, random.Random], str]] = {
    "content": _content, "special": _special, "bytes": _bytes, "missing": _missing, "value": _value, "key": _key,
    "line": _line, "line value": _line_value, "header": _header,
}  # fmt: skip
