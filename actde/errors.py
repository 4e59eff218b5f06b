"""Errors that a user can cause. Their messages are one line.

A programmer's mistake raises `ValueError` or `TypeError` instead.
"""

import difflib
from collections.abc import Iterable

from actde.synonyms import synonyms

LISTED = 20
"""If more names are known, an error with a suggestion does not list them."""


class OptimizerError(ValueError):
    """An error in an optimizer, its state or its batch."""


class ConfigError(OptimizerError):
    """An unknown name or a bad value in a configuration."""

    setting: str | None = None  # the setting whose value is wrong, if there is one


class ResultError(OptimizerError):
    """A method of an optimizer returned an unusable result."""

    def __init__(self, message: str, *, method: str = "") -> None:
        super().__init__(message)
        self.method = method


def unknown(kind: str, name: object, known: Iterable[str]) -> ConfigError:
    """Return the error for an unknown name, with a suggestion. `kind` is what the name stands for."""
    names = sorted(known)
    near = " or ".join(map(repr, closest(str(name), names)))
    listed = "" if near and len(names) > LISTED else f", expected one of {', '.join(names)}"
    return ConfigError(f"unknown {kind} {name!r}{listed}{f'; did you mean {near}?' if near else ''}")


def closest(name: str, known: Iterable[str]) -> list[str]:
    """Return the known names that `name` probably means: its synonyms, or the most similar name."""
    names, word = sorted(known), name.lower().replace("-", "_")
    if same := synonyms(word, set(names)):
        return same
    # "kl" means "kl_coef": a name that contains the word is preferred
    longer = [each for each in names if word in each.replace("-", "_").split("_")]
    return difflib.get_close_matches(word, longer or names, n=1, cutoff=0.0 if longer else 0.5)
