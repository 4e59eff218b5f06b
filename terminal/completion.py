"""Shell completion for the script `actde`: functions that return the possible completions of an option's value."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO

PROGRAM = "actde"
VARIABLE = "_ACTDE_COMPLETE"  # set by the shell's completion function
INSTALLATION = f"the shell will complete the command {PROGRAM}, if it is on the PATH, but not `python cli.py`"
BREAKS = frozenset("=:@")
"""The characters that a value can contain without quotation marks, but at which bash splits it (COMP_WORDBREAKS)."""


@contextmanager
def whole_words() -> Iterator[None]:
    """Join the words that bash has split at `BREAKS`, so that the block can complete the last word.

    The block prints completions of the whole word, but bash replaces only the last part of a word that it has split.
    The earlier parts are therefore removed from the printed completions.
    """
    if os.environ.get(VARIABLE) != "complete_bash":
        yield
        return
    words, start = joined(os.environ["COMP_WORDS"].split("\n"), int(os.environ["COMP_CWORD"]))
    os.environ |= {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
    printed = StringIO()
    try:
        with redirect_stdout(printed):
            yield
    finally:
        for line in printed.getvalue().splitlines():
            sys.stdout.write(line.removeprefix(start) + "\n")


def joined(parts: Sequence[str], current: int) -> tuple[list[str], str]:
    """Join the parts of words that bash has split at `BREAKS`.

    Args:
        parts: the parts of all words of the command line.
        current: index of the part to complete. Later parts are ignored.

    Returns:
        A tuple (words, start). The last word is the one to complete. `start` is the beginning of this word that bash
        does not replace, without the option and its "=". In `--game=textworld:co`, bash replaces `co`, and `start` is
        "textworld:".
    """
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


def typed_command() -> list[str]:
    """Return the name of the command that the user typed, as a list such as ["train"], or [] if there is none.

    If a shell has started this process to complete a command line, the name is read from the line to complete.
    Otherwise, it is read from the arguments of this process.
    """
    words = sys.argv
    if VARIABLE in os.environ:
        words = (os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS", "")).split()
    return words[1:2]


def games(incomplete: str) -> list[str]:
    """Return the names of games that begin with `incomplete`."""
    from games.game_spec import BUILT_IN
    from games.textworld.generation.families import FAMILIES

    return _starting([*BUILT_IN, *(f"textworld:{name}" for name in FAMILIES)], incomplete)


def agents(incomplete: str) -> list[str]:
    """Return the names of agents that begin with `incomplete`."""
    from agents.registry import NAMES

    return _starting(NAMES, incomplete)


def shipped_agents(incomplete: str) -> list[str]:
    """Return the names of shipped agents that begin with `incomplete`."""
    from agents.registry import TRAINED

    return _starting(TRAINED, incomplete)


def optimizers(incomplete: str) -> list[str]:
    """Return the completions of a comma-separated list of optimizers.

    Only the last name is completed.
    """
    from actde.registry import optimizer_names

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in _starting(optimizer_names(), last)]


def trunks(incomplete: str) -> list[str]:
    """Return the names of trunks that begin with `incomplete`."""
    from agents.config import SCRATCH, SMOLLM2

    return _starting([*SCRATCH, SMOLLM2], incomplete)


def choices_of(name: str, incomplete: str) -> list[str]:
    """Return the possible values of the setting `name` that begin with `incomplete`."""
    from actde.config import choices
    from agents.config import FIELDS

    return _starting(choices(FIELDS[name]), incomplete)


def _starting(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
