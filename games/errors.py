"""The error that a user of the games can cause, and the hint that names the nearest known name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GameError(ValueError):
    """A user's mistake about a game; the message is one line."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the end of an error message about an unknown name: the nearest known name, or all of them.

    >>> nearest("treasur", ["coin", "treasure"])
    "did you mean 'treasure'?"
    >>> nearest("xyz", ["coin", "treasure"])
    'known are: coin, treasure'
    """
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are: {', '.join(names)}"
