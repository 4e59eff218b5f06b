"""Errors that a user can cause. Their messages are one line.

A programmer's mistake, such as a wrong shape or a missing tensor, raises `ValueError` or `TypeError` instead.
"""

import difflib
from collections.abc import Iterable

from actde.synonyms import synonyms

LISTED = 20
"""Maximum number of known names that an error lists in addition to a suggestion. If more are known, none is listed."""


class OptimizerError(ValueError):
    """An error in an optimizer, its state or its batch."""


class ConfigError(OptimizerError):
    """An error in a configuration: an unknown name or a bad value."""

    setting: str | None = None  # the setting whose value is wrong, if there is one


class ResultError(OptimizerError):
    """A method of an optimizer returned an unusable result. `method` is the name of the method."""

    def __init__(self, message: str, *, method: str = "") -> None:
        super().__init__(message)
        self.method = method


def unknown(kind: str, name: object, known: Iterable[str]) -> ConfigError:
    """Return the error for an unknown name. Its message suggests the closest known name, if one is close.

    The message also lists all known names, unless it has a suggestion and there are more than `LISTED`.
    """
    names = sorted(known)
    near = " or ".join(map(repr, closest(str(name), names)))
    listed = "" if near and len(names) > LISTED else f", expected one of {', '.join(names)}"
    return ConfigError(f"unknown {kind} {name!r}{listed}{f'; did you mean {near}?' if near else ''}")


def closest(name: str, known: Iterable[str]) -> list[str]:
    """Return the known names that `name` probably means: its synonyms or, without a synonym, the most similar name.

    If `name` is one of the words of a known name, as `kl` in `kl_coef`, only such known names are considered.
    """
    names, word = sorted(known), name.lower().replace("-", "_")
    if same := synonyms(word, set(names)):
        return same
    longer = [each for each in names if word in each.replace("-", "_").split("_")]
    return difflib.get_close_matches(word, longer or names, n=1, cutoff=0.0 if longer else 0.5)
