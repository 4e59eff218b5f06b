"""Errors that a user can cause. A programmer's mistake (a wrong shape, a missing tensor) raises `ValueError` or
`TypeError` instead.

    OptimizerError      an optimizer, its state or its batch
    └── ConfigError     a setting: an unknown name or a bad value
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
    """The error for an unknown name, with the known names and the most similar one."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name).lower(), names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ConfigError(f"unknown {kind} {name!r}, expected one of {', '.join(names)}{hint}")
