"""Errors that a user can cause, and "did you mean".

    OptimizerError      an optimizer, its state or its batch
    └── ConfigError     a setting: an unknown name or a bad value

A programmer's mistake (a wrong shape, a missing tensor) raises `ValueError` or `TypeError` instead.
"""

import difflib
from collections.abc import Iterable


class OptimizerError(ValueError):
    """A user's mistake about an optimizer or its settings; the message is one line."""


class ConfigError(OptimizerError):
    """A user's mistake in a configuration; the message is one line."""

    setting: str | None = None
    """The name of the setting whose value is wrong."""


def unknown(kind: str, name: object, known: Iterable[str]) -> ConfigError:
    """The error for an unknown name: what came, what is known, and the nearest known name."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name).lower(), names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ConfigError(f"unknown {kind} {name!r}, expected one of {', '.join(names)}{hint}")
