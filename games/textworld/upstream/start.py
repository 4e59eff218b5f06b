"""Starting TextWorld's own environment without the work that it does twice. No contract of ours in here.

Its rules are parsed once per process instead of once per game and once per loading: parsing is a pure function
of the text and takes longer than the rest of making a game. Nothing that it answers is changed.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any


def start(story: Path, infos: Iterable[str]) -> Any:
    """TextWorld's environment of a `.z8` whose name begins with `tw-`, asked for `infos` by TextWorld's names.

    Its innermost layer would play `look` and `inventory` once more at every step, and warn that it finds no
    valid actions; the layers around it take both from the text, so the innermost is asked for nothing.
    """
    import textworld

    wanted = textworld.EnvInfos(**dict.fromkeys(infos, True))
    with rules_parsed_once():
        env = layer = textworld.start(str(story), wanted)
    while isinstance(layer, textworld.core.Wrapper):
        layer.__dict__["request_infos"] = wanted
        layer = layer.__dict__["_wrapped_env"]
    layer.request_infos = textworld.EnvInfos()
    return env


@contextmanager
def rules_parsed_once() -> Iterator[None]:
    """Inside the block, TextWorld's parser answers from memory what it has parsed before.

    Rule files are also read in the order of their names, which TextWorld leaves to the file system, so that
    a game is the same on every machine. The interpreter's warning that it does not know TextWorld's games, which
    TextWorld itself silences when it is imported, stays silent where somebody has reset the filters.
    """
    from jericho import UnsupportedGameWarning
    from textworld import logic

    parser, load = logic._PARSER, logic.GameLogic.__dict__["load"]

    def load_sorted(cls: Any, files: Iterable[str]) -> Any:
        return load.__func__(cls, sorted(files))

    logic._PARSER, logic.GameLogic.load = _memory(parser), classmethod(load_sorted)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnsupportedGameWarning)
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
