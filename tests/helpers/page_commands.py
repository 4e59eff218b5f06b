"""The commands that the README, the documentation, the examples and the help show."""

import ast
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import typer

import cli
from tests import ROOT

GROUP: Any = typer.main.get_command(cli.app)
PROGRAMS = rf"actde (?:{'|'.join(GROUP.commands)})\b|python -m (?:benchmarks|experiments)\."
TYPED = rf"python cli\.py [a-z]|{PROGRAMS}|torchrun |accelerate launch "
LINE = re.compile(rf"^ *((?:\w+=\S* )*(?:{TYPED}).*|make [a-z-]+(?: +#.*)?)$", re.MULTILINE)
INLINE = re.compile(rf"`((?:\w+=\S* )*(?:{TYPED}|make [a-z])[^`]*)`".replace(" ", r"\s+"))
STATED = re.compile(r"(about )?\d+(\.\d+)?( to \d+)? (s|min|h)\b|(needs|until|as long as) \w")
TINY = {"--iterations": "2", "--episodes": "2", "--parallel": "2"}
SHORT: dict[str, dict[str, str]] = {
    "train": {**TINY, "--iterations": "10"},
    "compare": {**TINY, "--seeds": "0", "--evaluations": "2"},
    "evaluate": {"--episodes": "1"},
    "play": {"--episodes": "1"},
}
"""Options that make a long command short."""


@dataclass(frozen=True)
class PageCommand:
    """A command of a page, with the comment that follows it."""

    page: str
    line: int
    words: str
    comment: str
    alone: bool
    """Whether the command has a line of its own. Otherwise, it is code in a sentence."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.words}"

    @property
    def stated(self) -> bool:
        """Whether the comment states a duration, or what the command needs or waits for."""
        return STATED.match(self.comment) is not None

    @property
    def bare(self) -> str:
        """The command without environment variables before it."""
        return re.sub(r"^(\w+=\S* )+", "", self.words)

    @property
    def of_cli(self) -> bool:
        """Whether the command runs `cli.py`, also by its name `actde`."""
        return self.bare.startswith(("python cli.py ", "actde "))

    @property
    def arguments(self) -> list[str]:
        """The arguments of a command that runs `cli.py`, up to a pipe."""
        words = shlex.split(self.bare.partition(" | ")[0])
        return words[1:] if words[0] == "actde" else words[2:]


def found(page: str, text: str) -> Iterator[PageCommand]:
    """Yield the commands in a text. Continued lines are joined."""
    text = text.replace("\\\n", "\v")
    for pattern in (LINE, INLINE):
        for match in pattern.finditer(text):
            words, _, comment = " ".join(match[1].split()).partition(" # ")
            line = 1 + len(re.findall(r"[\n\v]", text[: match.start(1)]))
            yield PageCommand(page, line, words, comment, pattern is LINE)


def texts_of_pages() -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each page and example."""
    docs = (path for path in sorted((ROOT / "docs").rglob("*.md")) if "_build" not in path.parts)
    for path in (ROOT / "README.md", *docs, *sorted((ROOT / "examples").iterdir())):
        if path.is_file():
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def help_texts() -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each help page: of the commands, and of the programs of the experiments."""
    for name, command in GROUP.commands.items():
        texts = (command.help, command.epilog, *(parameter.help for parameter in command.params))
        yield f"{name} --help", "\n".join(filter(None, texts))
    for path in sorted((ROOT / "experiments").rglob("*.py")):
        functions = (
            node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)
        )
        yield str(path.relative_to(ROOT)), "\n".join(ast.get_docstring(node) or "" for node in functions)


def steps(commands: Sequence[PageCommand]) -> list[tuple[PageCommand, list[str]]]:
    """Return the commands of a page that a test runs, in order, with the arguments that the test passes.

    A command that is not `stated` runs as it stands. A stated one runs, shortened, if a later command reads its output.
    """
    chosen: list[tuple[PageCommand, list[str]]] = []
    read: set[str] = set()
    for command in reversed(commands):
        words = command.arguments
        if command.stated:
            if not read & {word for option, word in pairwise(words) if option in ("--out", "--save")}:
                continue
            words = shortened(words)
        chosen.insert(0, (command, words))
        read |= {str(path) for word in words for path in (Path(word), *Path(word).parents)}
    return chosen


def shortened(words: Sequence[str]) -> list[str]:
    """Return the arguments of a long command, with options that make it short in place of its own."""
    short = {"--iterations": "11"} if "--resume" in words else SHORT[words[0]]
    kept = [word for before, word in pairwise(["", *words]) if not {before, word} & set(short)]
    return [*kept, *chain.from_iterable(short.items())]
