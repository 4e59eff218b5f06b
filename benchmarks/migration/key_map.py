"""The key map `renamed_keys.json`: the names of options, data keys, tensors and files in the new version.

Sections of the file:

    options       option of the command line -> its new name; this also renames the settings inside
                  `--vary NAME=...` and `--optimizers ppo+NAME=...`
    sections      kind of document -> {old path: new path}
    values        section -> {new path: {old value: new value}}, for enumerations whose values change
                  (numbers are written as text: "1")
    added         kind of document -> {new path: value}, for keys that only the new version writes
    files         name of a file or folder -> its new name
    not_compared  `wall_clock`: names of numbers that differ between any two runs; `digests`: KIND/PATH of hashes
                  that depend on renamed JSON; `rewritten_texts`: KIND/PATH of prose in reports and of the versions
                  of packages that a part no longer imports; `prose_and_pictures`: files that only have to exist

A kind of document is the name of a file, or a command with `--json`. `added` and `digests` use the new name of the
file. A path joins keys (or list indices, or the parts of a tensor's name) by "/". The rules of paths are:

* A path matches every path that begins with it. A path that ends with "$" matches itself only.
* `*` matches any characters of one key. The matched characters replace the `*` of the new path.
* If several paths match, the longest path is used.
* If the new path is null, the key is dropped.
* A new path that ends with "@NAME" translates the rest of the path by the section NAME. If the new path is "@NAME"
  alone, the matched part does not change.

The section `flat_settings` is computed from `settings`. It has the same names without groups.

The map is extended by one line per name. For example, `"metrics": {"text_loss": "lm_loss"}` renames this metric in
metrics.jsonl, in results.json and in the output of `train --json`.
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
    """A translation of old names to new names.

    `KeyMap.nothing()` changes no name, but still lists the values that are not compared.
    """

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
        """Return the new keys and the new value of a leaf (see `leaves`), or None if the new version drops it."""
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
        """Return a document with its new names. The order of the keys does not change."""
        renamed = (self.leaf(kind, keys, value) for keys, value in leaves(document))
        return build(leaf for leaf in renamed if leaf is not None)

    def file(self, path: Path) -> Path:
        """Return a path with its new names. The path is relative to an output folder."""
        return Path(*(self.files.get(part, part) for part in path.parts))

    def arguments(self, words: Sequence[str]) -> list[str]:
        """Return the words of a command with their new names."""
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
        """Replace the old names of options in a text, such as a recorded command or Markdown, by the new ones."""
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
        """Return a word such as `ppo+lam=0.9` or `lam=0.9,0.95` with the new names of its settings."""

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
    """Return what each `*` of a rule matches, or None if the rule does not match the keys."""
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
    """Yield every leaf of a JSON document as its keys and its value.

    A leaf is a value that contains no other values. Empty objects and lists are leaves.
    """
    if not isinstance(document, dict | list) or not document:
        yield keys, document
        return
    for key, value in document.items() if isinstance(document, dict) else enumerate(document):
        yield from leaves(value, (*keys, key))


def build(found: Iterable[Leaf]) -> Any:
    """Return the JSON document that consists of these leaves (the inverse of `leaves`).

    Raises:
        ValueError: two leaves have the same keys.
    """
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
    """Return the keys as one path."""
    return "/".join(map(str, keys))


def command(words: Sequence[str]) -> str:
    """Return a command as a user would type it."""
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
    """Return the keys of the new path `target`, in which the matched characters `caught` replace each `*`.

    A key that is a list index in `old` stays a number.
    """
    rest, numbers = iter(caught), {str(key): key for key in old if isinstance(key, int)}
    filled = (re.sub(r"\*", lambda _: next(rest), part) for part in _parts(target))
    return tuple(numbers.get(part, part) for part in filled)
