"""Collects the words of TextWorld's games from the sources of their texts.

It parses text grammars (rooms, objects, instructions), logic files (commands and messages), the code of the challenges
(foods, recipes, furniture) and of our own family `textnav`, the Inform 7 generator (take, drop, score, the end), and
Inform's rules (parser errors, refusals, numbers). A superfluous word costs one row of an embedding; a missing word is
an unknown token in a game.

This command writes the data file:

    python -m agents.text.vocabulary_script > agents/data/textworld_words.txt
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
from games.textworld.generation import textnav

INFORM = "thirdparty/inform7-6M62/share/inform7/Internal"
RULES = f"{INFORM}/Extensions/Graham Nelson/Standard Rules.i7x"
NUMBERS = f"{INFORM}/I6T/Language.i6t"
PRONOUNS = f"{INFORM}/Extensions/Graham Nelson/English Language.i7x"
CODE = ("challenges/tw_*/*.py", "generator/text_generation.py")
MESSAGES = "generator/inform7/world2inform7.py"
QUOTED = re.compile(r'"([^"]*)"')
SAID = re.compile(r'(?:say|center|print) +"([^"]*)"')
RESPONSE = re.compile(r'"([^"]*)" \([A-Z]+\)|^"([^"]*)"\t|Understand (.*) as', re.MULTILINE)
"""In Inform's rules a message to the player has a letter: "Time passes." (A), or is in a table. Understood phrases
count too, because the parser repeats them: "I only understood you as far as wanting to climb"."""


def textworld_words() -> list[str]:
    """All words, lower case, sorted; raises AgentError if textworld is not installed."""
    spec = find_spec("textworld")
    if spec is None or spec.origin is None:
        raise AgentError("textworld is not installed; run: pip install textworld")
    root = Path(spec.origin).parent
    return sorted({word for text in _texts(root) for word in re.findall("[a-z]+", text.lower())})


def _texts(root: Path) -> Iterator[str]:
    for path in sorted(root.rglob("*.twg")):
        yield from map(grammar_text, path.read_text(encoding="utf-8").splitlines())
    for path in sorted(root.rglob("*.twl")):
        yield from QUOTED.findall(path.read_text(encoding="utf-8").replace('"""', ""))
    for pattern in CODE:
        for path in sorted(root.glob(pattern)):
            source = path.read_text(encoding="utf-8")
            yield from code_texts(source)
            yield from map(plural, code_rooms(source))
    yield from code_texts(Path(textnav.__file__).read_text(encoding="utf-8"))
    yield from SAID.findall((root / MESSAGES).read_text(encoding="utf-8"))
    rules = (root / RULES).read_text(encoding="utf-8")
    yield from (inform_text(" ".join(groups)) for groups in RESPONSE.findall(rules))
    for name in (NUMBERS, PRONOUNS):
        yield from SAID.findall((root / name).read_text(encoding="utf-8"))


def grammar_text(line: str) -> str:
    """Text that a line `name:one;another` of a text grammar can print, without #references# and (slots)."""
    if line.startswith("#"):
        return ""
    name, _, text = line.partition(":")
    text = re.sub(r"#[^#\s]+#|\([^()\s]*\)|\[(?:if|else|otherwise|end|a list)[^\]]*\]", " ", text)
    return f"{text};{plural(text)}" if "(r)_noun" in name else text


def plural(names: str) -> str:
    """Plurals of names separated by semicolons, as in a room's introduction: "you've seen better (name)s"."""
    return ";".join(f"{name.strip()}s" for name in names.split(";"))


def code_texts(source: str) -> Iterator[str]:
    """Strings of a Python file that can reach a game: no docstrings, errors or command-line help."""
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
    """Names of rooms in a challenge's code: `new_room("kitchen")`, or the keys of NEIGHBORS."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(attr="new_room"), args=[ast.Constant(value=str(name))]):
                yield name
            case ast.Assign(targets=[ast.Name(id="NEIGHBORS")], value=value):
                yield from ast.literal_eval(value)


def inform_text(text: str) -> str:
    """A message of Inform's rules with the third person of its verbs: "[We] [can't] see that [seem] ..."."""
    return " ".join((text, *map(third_person, re.findall(r"\[([a-z]+)\]", text))))


def third_person(verb: str) -> str:
    """Third person of a verb: pass, carry, see become passes, carries, sees."""
    if re.search("(s|x|z|ch|sh)$", verb):
        return verb + "es"
    return re.sub("(?<=[^aeiou])y$", "ie", verb) + "s"


if __name__ == "__main__":
    sys.stdout.write(f"# Made by `python -m agents.text.vocabulary_script` from textworld {version('textworld')}\n")
    sys.stdout.writelines(f"{word}\n" for word in textworld_words())
