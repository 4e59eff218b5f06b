"""The one error of this package for a user's mistake, and "did you mean".

A programmer's mistake (a wrong shape, a missing tensor) raises `ValueError` or `TypeError` instead.
"""

import difflib
from collections.abc import Iterable


class OptimizerError(ValueError):
    """A user's mistake about an optimizer or its settings; the message is one clear line."""


def unknown(kind: str, name: object, known: Iterable[str]) -> OptimizerError:
    """The error for a name that does not exist: what came, what there is, and the nearest of them."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name).lower(), names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return OptimizerError(f"unknown {kind} {name!r}, expected one of {', '.join(names)}{hint}")
