"""Errors that a user can cause. Every message is one line."""

import difflib
from collections.abc import Iterable

from actde.synonyms import synonyms

MAX_LISTED_NAMES = 20
"""A message with a suggestion lists the known names only if there are at most this many."""


class OptimizerError(ValueError):
    """An error in an optimizer's code, settings, state or data."""


class ConfigError(OptimizerError):
    """An unknown name or an invalid value in a configuration."""

    setting: str | None = None  # the setting whose value is wrong, if there is one


class ResultError(OptimizerError):
    """A method of an optimizer returned an invalid result."""

    def __init__(self, message: str, *, method: str = "") -> None:
        super().__init__(message)
        self.method = method


def unknown(noun: str, name: object, known_names: Iterable[str]) -> ConfigError:
    """Return an error that suggests a known name. `noun` says what is named, such as "optimizer"."""
    names = sorted(known_names)
    suggestions = " or ".join(map(repr, closest(str(name), names)))
    expected = "" if suggestions and len(names) > MAX_LISTED_NAMES else f", expected one of {', '.join(names)}"
    return ConfigError(f"unknown {noun} {name!r}{expected}{f'; did you mean {suggestions}?' if suggestions else ''}")


def closest(name: str, known_names: Iterable[str]) -> list[str]:
    """Return the known names that mean the same as `name`, or else the most similar name."""
    names, word = sorted(known_names), name.lower().replace("-", "_")
    if same_meaning := synonyms(word, set(names)):
        return same_meaning
    # "kl" means "kl_coef": a name that contains the word is preferred
    containing = [candidate for candidate in names if word in candidate.replace("-", "_").split("_")]
    return difflib.get_close_matches(word, containing or names, n=1, cutoff=0.0 if containing else 0.5)
