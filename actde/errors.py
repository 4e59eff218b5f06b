"""Errors that a user can cause. Their messages are one line.

A programmer's mistake, such as a wrong shape or a missing tensor, raises `ValueError` or `TypeError` instead.
"""

import difflib
from collections.abc import Iterable


class OptimizerError(ValueError):
    """An error in an optimizer, its state or its batch."""


class ConfigError(OptimizerError):
    """An error in a configuration: an unknown name or a bad value."""

    setting: str | None = None  # the setting whose value is wrong, if there is one


class ResultError(OptimizerError):
    """A method of an optimizer returned something unusable. `method` is its name."""

    def __init__(self, message: str, *, method: str = "") -> None:
        super().__init__(message)
        self.method = method


def unknown(kind: str, name: object, known: Iterable[str]) -> ConfigError:
    """Return the error for an unknown name. Its message lists the known names and suggests the most similar one.

    Names of which `name` is a part come first: `kl_coef` for `kl`.
    """
    names, word = sorted(known), str(name).lower().replace("-", "_")
    longer = [each for each in names if word in each.replace("-", "_").split("_")]
    near = difflib.get_close_matches(word, longer or names, n=1, cutoff=0.0 if longer else 0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ConfigError(f"unknown {kind} {name!r}, expected one of {', '.join(names)}{hint}")
