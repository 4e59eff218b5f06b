"""The key map `renamed_keys.json`: what every option, data key, tensor and file is called in the new version.

Sections of the file:

    options       option of the command line -> its new name; the settings' names inside `--vary NAME=...` and
                  `--optimizers ppo+NAME=...` follow from it
    sections      kind of document -> {old path: new path}
    values        section -> {new path: {old value: new value}}, where a value of an enumeration changes
                  (numbers are written as text: "1")
    added         kind of document -> {new path: value}, for keys that only the new version writes
    files         name of a file or folder -> its new name
    not_compared  `wall_clock`: names of numbers that differ between any two runs; `digests`: KIND/PATH of hashes
                  that follow from renamed JSON; `prose_and_pictures`: files that only have to exist

A kind of document is a file's name (in `added` and `digests` its new one), or a command with `--json`. A path joins
keys (or list indices, or the parts of a tensor's name) by "/". It matches every path that begins with it; "$" at its
end restricts it to that path alone; `*` stands for any characters of one key, and its match replaces the `*` of the new
path. The longest match wins. A new path of null drops the key. "@NAME" behind a new path (or alone: the path stays)
translates what follows by the section NAME. `flat_settings` is made from `settings`: the same names without groups.

Extend it by one line: `"metrics": {"text_loss": "lm_loss"}` renames that metric in metrics.jsonl, in results.json and
in what `train --json` prints.
"""

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

Key = str | int
Keys = tuple[Key, ...]
Leaf = tuple[Keys, Any]
DEFAULT = Path(__file__).with_name("renamed_keys.json")


class KeyMap:
    """Translates old names to new ones. `KeyMap.nothing()` keeps every name and compares all but the same values."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.options: dict[str, str] = data["options"]
        self.values: dict[str, dict[str, dict[str, Any]]] = data["values"]
        self.added: dict[str, dict[str, Any]] = data["added"]
        self.files: dict[str, str] = data["files"]
        self.not_compared: dict[str, list[str]] = data["not_compared"]
        self.sections: dict[str, dict[str, str | None]] = dict(data["sections"])
        flat = {f"{old.rpartition('/')[2]}$": new for old, new in self.sections.get("settings", {}).items()}
        self.sections["flat_settings"] = flat

    @classmethod
    def load(cls, path: Path = DEFAULT) -> "KeyMap":
        return cls(json.loads(path.read_text(encoding="utf-8")))

    @classmethod
    def nothing(cls) -> "KeyMap":
        data = json.loads(DEFAULT.read_text(encoding="utf-8"))
        return cls(data | {"options": {}, "sections": {}, "values": {}, "added": {}, "files": {}})

    def leaf(self, section: str, keys: Keys, value: Any) -> Leaf | None:
        """The new keys and the new value of a leaf; None where the new version drops it."""
        rules = self.sections.get(section, {})
        best = max((rule for rule in rules if match(rule, keys) is not None), key=_depth, default=None)
        if best is None:
            return keys, self._value(section, keys, value)
        target = rules[best]
        if target is None:
            return None
        new, _, inner = target.partition("@")
        depth, caught = _depth(best), match(best, keys) or []
        head = _filled(new, caught, keys[:depth]) if new else keys[:depth]
        if not inner:
            return head + keys[depth:], self._value(section, head + keys[depth:], value)
        below = self.leaf(inner, keys[depth:], value)
        return None if below is None else (head + below[0], below[1])

    def document(self, kind: str, document: Any) -> Any:
        """The document under its new names; the order of the keys stays."""
        renamed = (self.leaf(kind, keys, value) for keys, value in leaves(document))
        return build(leaf for leaf in renamed if leaf is not None)

    def file(self, path: Path) -> Path:
        """A path relative to an output folder under its new names."""
        return Path(*(self.files.get(part, part) for part in path.parts))

    def arguments(self, words: Sequence[str]) -> list[str]:
        """The words of a command under new names."""
        found, option = [], ""
        for word in words:
            name, equals, value = word.partition("=")
            if word.startswith("--"):
                option = self._option(name)
                found.append(option + equals + self._option_value(option, value))
            else:
                found.append(self._option_value(option, self._names_inside(word)))
                option = ""
        return found

    def text(self, text: str) -> str:
        """Text (a recorded command, Markdown) with every option under its new name."""
        if not self.options:
            return text
        text = self._option_in_text.sub(lambda found: self._option(found[0]), text)
        return re.sub(r"(?:--vary |\+)[a-z_0-9]+=", lambda found: self._names_inside(found[0]), text)

    @cached_property
    def _option_in_text(self) -> re.Pattern[str]:
        names = "|".join(re.escape(name.removeprefix("--")) for name in self.options)
        return re.compile(rf"(?<![\w-])--(?:no-)?(?:{names})(?![\w-])")

    def _option(self, name: str) -> str:
        if name.startswith("--no-") and f"--{name[5:]}" in self.options:
            return "--no-" + self.options[f"--{name[5:]}"].removeprefix("--")
        return self.options.get(name, name)

    def _option_value(self, option: str, word: str) -> str:
        name = option.removeprefix("--").replace("-", "_")
        for path, values in self.values.get("settings", {}).items():
            if path.rpartition("/")[2] == name:
                return str(values.get(word, word))
        return word

    def _names_inside(self, word: str) -> str:
        """`ppo+lam=0.9` or `lam=0.9,0.95` with the settings' new names."""

        def renamed(found: re.Match[str]) -> str:
            option = self._option("--" + found[2].replace("_", "-"))
            return f"{found[1]}{option.removeprefix('--').replace('-', '_')}="

        return re.sub(r"(^|[+ ])([a-z_0-9]+)=", renamed, word)

    def _value(self, section: str, keys: Keys, value: Any) -> Any:
        for rule, values in self.values.get(section, {}).items():
            if match(rule + "$", keys) is not None:
                return values.get(value if isinstance(value, str) else json.dumps(value), value)
        return value


def match(rule: str, keys: Keys) -> list[str] | None:
    """What the `*` of a rule stand for where it matches the keys, else None."""
    parts, depth = _parts(rule), _depth(rule)
    if depth > len(keys) or (rule.endswith("$") and depth != len(keys)):
        return None
    caught: list[str] = []
    for part, key in zip(parts, keys, strict=False):
        found = re.fullmatch(re.escape(part).replace(r"\*", "(.*)"), str(key))
        if found is None:
            return None
        caught += found.groups()
    return caught


def leaves(document: Any, keys: Keys = ()) -> Iterator[Leaf]:
    """Every value of a JSON document that holds no others, with its keys; empty objects and lists are values."""
    if not isinstance(document, dict | list) or not document:
        yield keys, document
        return
    for key, value in document.items() if isinstance(document, dict) else enumerate(document):
        yield from leaves(value, (*keys, key))


def build(found: Iterable[Leaf]) -> Any:
    """The document of these leaves. ValueError where two of them have the same keys."""
    root: dict[Key, Any] = {}
    for keys, value in found:
        node = root
        for key in ("", *keys)[:-1]:
            node = node.setdefault(key, {})
        last = keys[-1] if keys else ""
        if last in node:
            raise ValueError(f"two values for {shown(keys)}")
        node[last] = value
    return _with_lists(root.get("", {}))


def shown(keys: Keys) -> str:
    """Keys as one path."""
    return "/".join(map(str, keys))


def command(words: Sequence[str]) -> str:
    """A command as a user would type it."""
    return shlex.join(["python", "cli.py", *words])


def _with_lists(node: Any) -> Any:
    if not isinstance(node, dict) or not node:
        return node
    if all(isinstance(key, int) for key in node):
        return [_with_lists(value) for value in node.values()]
    return {key: _with_lists(value) for key, value in node.items()}


def _parts(rule: str) -> list[str]:
    rule = rule.removesuffix("$")
    return rule.split("/") if rule else []


def _depth(rule: str) -> int:
    return len(_parts(rule))


def _filled(target: str, caught: Sequence[str], old: Keys) -> Keys:
    """The target's keys with what the `*` stood for; a list's index stays a number."""
    rest, numbers = iter(caught), {str(key): key for key in old if isinstance(key, int)}
    filled = (re.sub(r"\*", lambda _: next(rest), part) for part in _parts(target))
    return tuple(numbers.get(part, part) for part in filled)
