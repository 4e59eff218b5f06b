"""Collects the words that TextWorld's games can print.

Run as `python -m agents.text.vocabulary_script > agents/data/textworld_words.txt`.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import textworld

from games.textworld.generation import textnav

INFORM = "thirdparty/inform7-6M62/share/inform7/Internal"
RULES = f"{INFORM}/Extensions/Graham Nelson/Standard Rules.i7x"
NUMBERS = f"{INFORM}/I6T/Language.i6t"
PRONOUNS = f"{INFORM}/Extensions/Graham Nelson/English Language.i7x"
CODE = ("challenges/tw_*/*.py", "generator/text_generation.py")
MESSAGES = "generator/inform7/world2inform7.py"
QUOTED = re.compile(r'"([^"]*)"')
SAID = re.compile(r'(?:say|center|print) +"([^"]*)"')
# A message to the player is followed by a letter, as in "Time passes." (A), or stands in a table. The parser repeats
# the phrases after `Understand`, as in "I only understood you as far as wanting to climb".
RESPONSE = re.compile(r'"([^"]*)" \([A-Z]+\)|^"([^"]*)"\t|Understand (.*) as', re.MULTILINE)


def textworld_words() -> list[str]:
    """Return the sorted lower-case words that TextWorld's games can print."""
    root = Path(textworld.__file__).parent
    return sorted({word for text in _texts(root) for word in re.findall("[a-z]+", text.lower())})


def _texts(root: Path) -> Iterator[str]:
    for path in root.rglob("*.twg"):
        yield from map(grammar_text, path.read_text(encoding="utf-8").splitlines())
    for path in root.rglob("*.twl"):
        yield from QUOTED.findall(path.read_text(encoding="utf-8").replace('"""', ""))
    for path in [path for pattern in CODE for path in root.glob(pattern)]:
        source = path.read_text(encoding="utf-8")
        yield from code_texts(source)
        yield from map(plural, code_rooms(source))
    yield from code_texts(Path(textnav.__file__).read_text(encoding="utf-8"))
    rules = (root / RULES).read_text(encoding="utf-8")
    yield from (inform_text(" ".join(groups)) for groups in RESPONSE.findall(rules))
    for name in (MESSAGES, NUMBERS, PRONOUNS):
        yield from SAID.findall((root / name).read_text(encoding="utf-8"))


def grammar_text(line: str) -> str:
    """Return the text of a grammar line (`name:one;another`), followed by the plurals of nouns."""
    if line.startswith("#"):
        return ""
    name, _, text = line.partition(":")
    text = re.sub(r"#[^#\s]+#|\([^()\s]*\)|\[(?:if|else|otherwise|end|a list)[^\]]*\]", " ", text)
    return f"{text};{plural(text)}" if "(r)_noun" in name else text


def plural(names: str) -> str:
    """Return the plurals of names separated by semicolons. For example, `oven;table` gives `ovens;tables`."""
    return ";".join(f"{name.strip()}s" for name in names.split(";"))


def code_texts(source: str) -> Iterator[str]:
    """Yield the strings of Python code, except docstrings, error messages and help texts."""
    tree = ast.parse(source)
    skipped = {id(child) for node in ast.walk(tree) if _is_for_programmers(node) for child in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.value


def _is_for_programmers(node: ast.AST) -> bool:
    match node:
        case ast.Raise() | ast.Expr(value=ast.Constant()):
            return True
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)):
            return name in {"add_argument", "add_argument_group", "register", "ArgumentParser", "warn"}
    return False


def code_rooms(source: str) -> Iterator[str]:
    """Yield the names of rooms in the Python code of a TextWorld challenge."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(attr="new_room"), args=[ast.Constant(value=str(name))]):
                yield name
            case ast.Assign(targets=[ast.Name(id="NEIGHBORS")], value=value):
                yield from ast.literal_eval(value)


def inform_text(text: str) -> str:
    """Append the third person of each bracketed verb to an Inform rule's message."""
    return " ".join((text, *map(third_person, re.findall(r"\[([a-z]+)\]", text))))


def third_person(verb: str) -> str:
    """Return the third person of a verb, such as `carries` for `carry`."""
    if re.search("(s|x|z|ch|sh)$", verb):
        return verb + "es"
    return re.sub("(?<=[^aeiou])y$", "ie", verb) + "s"


if __name__ == "__main__":
    sys.stdout.write(f"# Made by `python -m agents.text.vocabulary_script` from textworld {version('textworld')}\n")
    sys.stdout.writelines(f"{word}\n" for word in textworld_words())
