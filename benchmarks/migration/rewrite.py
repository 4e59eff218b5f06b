"""Rewrite committed data under the new names: `python -m benchmarks.migration.rewrite [--check] PATH...`.

A PATH is a file, or a folder that is searched for JSON, JSON Lines and Markdown. The key map has rules for documents
with certain names (settings.json, metrics.jsonl, results.json, agent.json, card.json, ...), whose keys it renames.
Options get new names in every recorded command of JSON ("command": "python ..."), and everywhere in Markdown.

An agent.json gets a new digest. In all documents of the same call, the new digest replaces the old one. Agents and the
evaluation card must therefore be named in the same call.

A second call changes nothing. Layout, order of keys and numbers stay as they are. If a file could not keep its layout,
or has keys that the map lacks, nothing is written and the exit status is 1.
"""

import argparse
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from safetensors import safe_open

from agents.config import TrainConfig, flatten
from benchmarks.migration.key_map import KeyMap, Keys, build, leaves, shown

OLD_GROUPS = {"train", "learning"}
"""Groups of settings in the old version. If a setting remains in one of these groups, the map lacks it."""
SKIPPED = {"tokenizer.json"}
SUFFIXES = (".json", ".jsonl", ".md")
TRIALS = "trials.safetensors"
JSON_BLOCK = re.compile(r"(?<=^```json\n)\{.*?^\}(?=\n```$)", re.MULTILINE | re.DOTALL)


class CannotRewriteError(ValueError):
    """Raised if a file has keys that the map lacks, or could not keep its layout."""


class Rewriter:
    """A rewriter of files. It counts the changes by document and key."""

    def __init__(self, names: KeyMap) -> None:
        self.names, self.counts = names, Counter[str]()
        self.digests: dict[str, str] = {}
        """Old digest of an agent -> its new digest."""

    def files(self, paths: Iterable[Path]) -> dict[Path, bytes]:
        """Return the new content of each file that changes.

        Agents are rewritten first, since other documents contain their digests.
        """
        inside = {file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])}
        wanted = {path for path in inside if path.suffix in SUFFIXES or path.name == TRIALS} - {
            path for path in inside if path.name in SKIPPED
        }
        changed = {}
        for path in sorted(wanted, key=lambda path: (path.name != "agent.json", path)):
            try:
                new = self.content(path)
            except ValueError as error:
                raise CannotRewriteError(f"{path}: {error}") from None
            if new != path.read_bytes():
                changed[path] = new
        return changed

    def content(self, path: Path) -> bytes:
        """Return the new content of one file."""
        if path.name == TRIALS:
            return self.trials(path)
        text = path.read_text(encoding="utf-8")
        return (self.markdown(text) if path.suffix == ".md" else self.document(path.name, text)).encode()

    def markdown(self, text: str) -> str:
        """Return the Markdown text with the new names of its options and settings."""
        return JSON_BLOCK.sub(self._settings_block, self._command("*.md", text))

    def _settings_block(self, block: re.Match[str]) -> str:
        """Return the settings in an agent's README with their new names."""
        document = json.loads(block[0])
        if not OLD_GROUPS & set(document):
            return block[0]
        return json.dumps(_with_defaults(self.names.document("settings.json", document)), indent=1)

    def trials(self, path: Path) -> bytes:
        """Return the content of the file with the trials of the prisoner's dilemma.

        The JSON in its metadata, which describes the trials, gets new names.
        """
        from safetensors.numpy import load_file, save

        with safe_open(path, framework="np") as file:
            before = json.loads(file.metadata()["about"])
        after = self.names.document(path.name, before)
        self.counts[f"{path.name}: about"] += after != before
        return save(load_file(path), metadata={"about": json.dumps(after, sort_keys=True)})

    def document(self, kind: str, text: str) -> str:
        """Return the new text of a JSON or JSON Lines document. `kind` is its file name."""
        many = kind.endswith(".jsonl")
        before: Any = [json.loads(line) for line in text.splitlines()] if many else json.loads(text)
        if kind == "results.json" and isinstance(before, list):
            kind = "findings"  # `reproduce` writes a file of the same name
        after = build(leaf for keys, value in leaves(before) for leaf in self._leaf(kind, keys, value))
        _fill_defaults(kind, after)
        if kind == "agent.json" and after != before:
            after["digest"] = self.digests[before["digest"]] = _digest(after, before)
        if after == before:
            return text
        return _layout_of(text, before, many=many)(after)

    def _leaf(self, kind: str, keys: Keys, value: Any) -> list[tuple[Keys, Any]]:
        renamed = self.names.leaf(kind, keys, value)
        if renamed is None:
            self.counts[f"{kind}: {_pattern(keys)} dropped"] += 1
            return []
        new, changed = renamed
        if OLD_GROUPS & set(new) and ("settings" in new or "made_by" in new or kind == "settings.json"):
            raise CannotRewriteError(f"the key map lacks {shown(keys)}")
        if new != keys:
            self.counts[f"{kind}: {_pattern(keys)} -> {_pattern(new)}"] += 1
        if changed != value:
            self.counts[f"{kind}: value of {_pattern(new)}"] += 1
        if new and new[-1] == "command" and isinstance(value, str) and value.startswith("python "):
            changed = self._command(kind, value)
        if isinstance(value, str) and value in self.digests:
            self.counts[f"{kind}: digest in {_pattern(new)}"] += 1
            changed = self.digests[value]
        return [(new, changed)]

    def _command(self, kind: str, text: str) -> str:
        new = self.names.text(text)
        for old, now in zip(text.split(), new.split(), strict=True):
            if old != now:
                self.counts[f"{kind}: {old.strip('`.,;:()')} -> {now.strip('`.,;:()')}"] += 1
        return new


def _fill_defaults(kind: str, document: Any) -> None:
    """Add the settings that an older run lacks because they did not exist yet. They get their default values."""
    if kind == "agent.json":
        document["made_by"] = _with_defaults(document["made_by"])
    for run in document["runs"] if kind == "results.json" else ():
        run["settings"] = _with_defaults(run["settings"])


def _with_defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    return TrainConfig.from_flat(flatten(settings)).model_dump()


def _digest(after: dict[str, Any], before: dict[str, Any]) -> str:
    """Return the digest of a rewritten agent.json, as defined in agents/storage/checkpoint.py.

    Raises:
        CannotRewriteError: the old digest is not that of the old content.
    """

    def digest(about: dict[str, Any]) -> str:
        plain = {name: value for name, value in about.items() if name != "digest"}
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    if digest(before) != before["digest"]:
        raise CannotRewriteError("its digest is not that of its content")
    return digest(after)


def _layout_of(text: str, document: Any, *, many: bool) -> Callable[[Any], str]:
    """Return a function that writes a document in the layout of `text`."""
    for indent, plain, end in product((1, None, 2, 4), (True, False), ("\n", "")):

        def dump(value: Any, indent: Any = indent, plain: bool = plain, end: str = end) -> str:
            if many:
                return "".join(json.dumps(line, ensure_ascii=plain) + "\n" for line in value)
            return json.dumps(value, indent=indent, ensure_ascii=plain) + end

        if dump(document) == text:
            return dump
    raise CannotRewriteError("it is in a layout that cannot be written again")


def _pattern(keys: Keys) -> str:
    return shown(tuple("*" if isinstance(key, int) else key for key in keys))


def main() -> int:
    """Rewrite the files or, with --check, only report what would change."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    parser.add_argument("--check", action="store_true", help="write nothing")
    given = parser.parse_args()
    rewriter = Rewriter(KeyMap.load())
    try:
        changed = rewriter.files(given.paths)
    except CannotRewriteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for path, content in changed.items():
        if not given.check:
            path.write_bytes(content)
    for name, count in sorted(rewriter.counts.items()):
        print(f"{count:6} {name}")
    print(f"{len(changed)} files {'would change' if given.check else 'changed'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
