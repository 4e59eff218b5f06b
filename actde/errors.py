"""Errors that a user can cause.

    OptimizerError      an error in an optimizer, its state or its batch
    └── ConfigError     an error in a setting: an unknown name or a bad value

A programmer's mistake, such as a wrong shape or a missing tensor, raises `ValueError` or `TypeError` instead.
"""

import difflib
from collections.abc import Iterable


class OptimizerError(ValueError):
    """Raised for a user's mistake in an optimizer, its state or its batch. The message is one line."""


class ConfigError(OptimizerError):
    """Raised for a user's mistake in a configuration. The message is one line."""

    setting: str | None = None
    """The name of the setting whose value is wrong, or None for any other error."""


def unknown(kind: str, name: object, known: Iterable[str]) -> ConfigError:
    """Return the error for an unknown name. Its message lists the known names and suggests the most similar one."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name).lower(), names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ConfigError(f"unknown {kind} {name!r}, expected one of {', '.join(names)}{hint}")
