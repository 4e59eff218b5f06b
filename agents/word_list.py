"""Collects the words of TextWorld's games from the sources that they are written from.

Read, never imported: text grammars (rooms, objects, instructions), logic files (commands and messages),
the challenges' code (foods, recipes, furniture), the Inform 7 generator (take, drop, score, the end), and
Inform's own rules (parser errors, refusals, numbers). A few words too many are harmless (one row of an
embedding each); one too few is an unknown word in somebody's game.

The command that makes the data file again:

    python -m agents.word_list > agents/data/textworld_words.txt
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from agents.protocol import AgentError

INFORM = "thirdparty/inform7-6M62/share/inform7/Internal"
RULES = f"{INFORM}/Extensions/Graham Nelson/Standard Rules.i7x"
NUMBERS = f"{INFORM}/I6T/Language.i6t"
CODE = ("challenges/tw_*/*.py", "generator/text_generation.py")
MESSAGES = "generator/inform7/world2inform7.py"
QUOTED = re.compile(r'"([^"]*)"')
SAID = re.compile(r'(?:say|center|print) +"([^"]*)"')
RESPONSE = re.compile(r'"([^"]*)" \([A-Z]+\)')
"""In Inform's rules every message that a player can see carries a letter: "Time passes." (A)"""


def textworld_words() -> list[str]:
    """All words, lower case, sorted. Raises AgentError where textworld is not installed."""
    spec = find_spec("textworld")
    if spec is None or spec.origin is None:
        raise AgentError("textworld is not installed; run: pip install textworld")
    root = Path(spec.origin).parent
    return sorted({word for text in _texts(root) for word in re.findall("[a-z]+", text.lower())})


def _texts(root: Path) -> Iterator[str]:
    for path in sorted(root.rglob("*.twg")):
        yield from map(grammar_text, path.read_text(encoding="utf-8").splitlines())
    for path in sorted(root.rglob("*.twl")):
        yield from QUOTED.findall(path.read_text(encoding="utf-8"))
    for pattern in CODE:
        for path in sorted(root.glob(pattern)):
            yield from code_texts(path.read_text(encoding="utf-8"))
    yield from SAID.findall((root / MESSAGES).read_text(encoding="utf-8"))
    yield from map(inform_text, RESPONSE.findall((root / RULES).read_text(encoding="utf-8")))
    yield from SAID.findall((root / NUMBERS).read_text(encoding="utf-8"))


def grammar_text(line: str) -> str:
    """What a line `name:one;another` of a text grammar can print, without #references# and (slots)."""
    if line.startswith("#"):
        return ""
    text = line.partition(":")[2]
    return re.sub(r"#[^#\s]+#|\([^()\s]*\)|\[(?:if|else|otherwise|end|a list)[^\]]*\]", " ", text)


def code_texts(source: str) -> Iterator[str]:
    """The strings of a Python file that can reach a game: no docstrings, no help for the command line."""
    tree = ast.parse(source)
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(id(node.value))
        elif isinstance(node, ast.Call | ast.Raise) and _only_for_people(node):
            skipped |= {id(child) for child in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.value


def _only_for_people(node: ast.Call | ast.Raise) -> bool:
    if isinstance(node, ast.Raise):
        return True
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name in {"add_argument", "add_argument_group", "register", "ArgumentParser", "warn"}


def inform_text(text: str) -> str:
    """A message of Inform's rules and the third person of its verbs: "[We] [can't] see that [seem] ..."."""
    return " ".join((text, *(f"{verb}s" for verb in re.findall(r"\[([a-z]+)\]", text))))


if __name__ == "__main__":
    sys.stdout.write(f"# Made by `python -m agents.word_list` from textworld {version('textworld')}\n")
    sys.stdout.writelines(f"{word}\n" for word in textworld_words())
