"""Shell completion for the script `actde`."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO

from agents.registry import NAMES, TRAINED

PROGRAM = "actde"
VARIABLE = "_ACTDE_COMPLETE"  # set by the shell's completion function
INSTALLATION = f"the shell will complete the command {PROGRAM}, if it is on the PATH, but not `python cli.py`"
BREAKS = frozenset("=:@")  # bash splits words at these, too (COMP_WORDBREAKS), although they need no quotation marks


@contextmanager
def whole_words() -> Iterator[None]:
    """Context manager that undoes bash's splitting of words at `BREAKS`."""
    if os.environ.get(VARIABLE) != "complete_bash":
        yield
        return
    words, start = join_words(os.environ["COMP_WORDS"].split("\n"), int(os.environ["COMP_CWORD"]))
    os.environ |= {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
    printed = StringIO()
    try:
        with redirect_stdout(printed):
            yield
    finally:
        for line in printed.getvalue().splitlines():  # bash replaces only the last part of a split word
            sys.stdout.write(line.removeprefix(start) + "\n")


def join_words(parts: Sequence[str], current: int) -> tuple[list[str], str]:
    """Join the words that bash has split at `BREAKS`. Return a tuple (words, prefix to remove from completions)."""
    words, start, after_break = list[str](), "", False
    for part in [*parts[:current], *(parts[current : current + 1] or [""])]:
        breaks = bool(part) and BREAKS.issuperset(part)
        if words and part and (breaks or after_break):
            start = words[-1] + part if breaks else words[-1]
            words[-1] += part
        else:
            start = ""
            words.append(part)
        after_break = breaks
    return words, start.partition("=")[2] if start.startswith("--") else start


def completer(names: Iterable[str]) -> Callable[[str], list[str]]:
    """Return a function that lists the names with a given prefix."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


agents = completer(NAMES)
shipped_agents = completer(TRAINED)


def typed_command() -> list[str]:
    """Return a list with the typed command's name, or an empty list."""
    words = sys.argv
    if VARIABLE in os.environ:
        words = (os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS", "")).split()
    return words[1:2]


def games(incomplete: str) -> list[str]:
    from games.game_spec import BUILT_IN
    from games.textworld.generation.families import FAMILIES

    return completer([*BUILT_IN, *(f"textworld:{name}" for name in FAMILIES)])(incomplete)


def optimizers(incomplete: str) -> list[str]:
    from actde.registry import optimizer_names

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in completer(optimizer_names())(last)]


def trunks(incomplete: str) -> list[str]:
    from agents.config import SCRATCH, SMOLLM2

    return completer([*SCRATCH, SMOLLM2])(incomplete)
