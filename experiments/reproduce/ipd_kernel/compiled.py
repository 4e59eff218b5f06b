"""How functions over arrays are compiled here."""

from typing import Any, Final

from numba import njit

FAST: Final = {"contract", "reassoc", "nsz", "arcp"}
"""Sums may be reordered and fused; infinities and NaN keep their meaning."""


OPTIONS: Final[dict[str, Any]] = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": FAST}


def compiled(function: Any) -> Any:
    """Compile a function of arrays none of which overlaps another that is written.

    That they do not overlap has to be said, or loops are compiled that ask at every turn (a third slower). numba
    has the flag, for its own use, and no public way to set it; where it is gone, the code is only slower.
    """
    return _distinct(njit(**OPTIONS)(function))


def inlined(function: Any) -> Any:
    """The same for a part of other compiled functions.

    Left to itself, the compiler inlines some parts into some callers, and which of several versions of a part runs
    depends on whether the caller came from the cache: the last bits of a run would depend on whether it is the first.
    """
    return _distinct(njit(forceinline=True, **OPTIONS)(function))


def _distinct(function: Any) -> Any:
    """Say that the arrays do not overlap."""
    compiler: Any = getattr(function, "_compiler", None)
    customize = getattr(compiler, "_customize_flags", None)
    if customize is not None:

        def without_overlap(flags: Any) -> Any:
            flags = customize(flags)
            flags.noalias = True
            return flags

        compiler._customize_flags = without_overlap
    return function
