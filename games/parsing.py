"""TextWorld's rules, parsed once per process instead of once per game and once per loading.

Parsing is a pure function of the text, and takes longer than the rest of making a game; TextWorld parses the
same few texts every time. Nothing else of TextWorld's is changed, and nothing outside the block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any


@contextmanager
def rules_parsed_once() -> Iterator[None]:
    """Inside the block, TextWorld's parser answers from memory what it has parsed before.

    Rule files are also read in the order of their names, which TextWorld leaves to the file system, so that
    a game is the same on every machine.
    """
    from textworld import logic

    parser, load = logic._PARSER, logic.GameLogic.__dict__["load"]

    def load_sorted(cls: Any, files: Iterable[str]) -> Any:
        return load.__func__(cls, sorted(files))

    logic._PARSER, logic.GameLogic.load = _memory(parser), classmethod(load_sorted)
    try:
        yield
    finally:
        logic._PARSER, logic.GameLogic.load = parser, load


class _Remembering:
    """A parser that remembers."""

    def __init__(self, parser: Any) -> None:
        self._parser = parser
        self._parse = lru_cache(maxsize=128)(lambda text, kwargs: parser.parse(text, **dict(kwargs)))

    def parse(self, text: str, **kwargs: Any) -> Any:
        kwargs.pop("filename", None)  # for messages only
        return self._parse(text, tuple(sorted(kwargs.items())))


@lru_cache(maxsize=1)
def _memory(parser: Any) -> Any:
    return parser if isinstance(parser, _Remembering) else _Remembering(parser)
