"""The error for a user's mistake, and "did you mean" for an unknown name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GameError(ValueError):
    """A user's mistake about a game; the message is one line."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of an error message about an unknown name; empty if no known name is close.

    >>> did_you_mean("treasur", ["coin", "treasure"])
    "; did you mean 'treasure'?"
    """
    close = difflib.get_close_matches(word, sorted(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the end of an error message about an unknown name: the nearest known name, or all of them.

    >>> nearest("treasur", ["coin", "treasure"])
    "did you mean 'treasure'?"
    >>> nearest("xyz", ["coin", "treasure"])
    'known are: coin, treasure'
    """
    names = sorted(known)
    return did_you_mean(word, names).removeprefix("; ") or f"known are: {', '.join(names)}"
