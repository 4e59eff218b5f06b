"""Errors that a user can cause. Their messages are one line.

A programmer's mistake, such as a wrong shape or a missing tensor, raises `ValueError` or `TypeError` instead.
"""

import difflib
from collections.abc import Iterable

from actde.synonyms import synonyms

LISTED = 20
"""Maximum number of known names that an error lists in addition to a suggestion. If there are more, none is listed."""


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
    """Return the error for an unknown name. Its message suggests a known name that the user may have meant.

    Without a suggestion, or if there are at most `LISTED` known names, the message lists all of them. `kind` says what
    the name stands for, such as "setting".
    """
    names = sorted(known)
    near = " or ".join(map(repr, closest(str(name), names)))
    listed = "" if near and len(names) > LISTED else f", expected one of {', '.join(names)}"
    return ConfigError(f"unknown {kind} {name!r}{listed}{f'; did you mean {near}?' if near else ''}")


def closest(name: str, known: Iterable[str]) -> list[str]:
    """Return the known names that `name` probably means: its synonyms or, without synonyms, the most similar name.

    A known name that contains `name` as a word is preferred: "kl" means "kl_coef". The list may be empty.
    """
    names, word = sorted(known), name.lower().replace("-", "_")
    if same := synonyms(word, set(names)):
        return same
    longer = [each for each in names if word in each.replace("-", "_").split("_")]
    return difflib.get_close_matches(word, longer or names, n=1, cutoff=0.0 if longer else 0.5)
