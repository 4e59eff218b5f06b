"""Start TextWorld's own environment without the work that it repeats, and read what only private names give.

* TextWorld parses the same rules for every game and at every load, which takes longer than the rest of making a game.
  `rules_parsed_once` caches its parser, a pure function of the text.
* Its innermost layer (`JerichoEnv`) plays `look` and `inventory` once more at every step and searches for valid
  actions in vain; the layers around it take both from the text. `start` asks the innermost layer for nothing.
* It reads rule files in the order of the file system. `rule_files_sorted` makes games equal on every machine.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from games.textworld.upstream import patches_enabled


def start(story: Path, infos: Iterable[str], *, fast: bool = True) -> Any:
    """Return TextWorld's environment of a `.z8` file whose name begins with `tw-`; `infos` are TextWorld's names."""
    import textworld

    silence_jericho()
    wanted = textworld.EnvInfos(**dict.fromkeys(infos, True))
    if not (fast and patches_enabled()):
        return textworld.start(str(story), wanted)
    with rules_parsed_once():
        env = layer = textworld.start(str(story), wanted)
    while isinstance(layer, textworld.core.Wrapper):
        layer.__dict__["request_infos"] = wanted
        layer = layer.__dict__["_wrapped_env"]
    layer.request_infos = textworld.EnvInfos()
    return env


def start_untracked(story: Path) -> tuple[Any, Any]:
    """Return TextWorld's environment without its slow state tracking, and its first state.

    Later feedback contains traces of actions (`traced_events`).
    """
    from textworld.envs.wrappers.tw_inform7 import Inform7Data
    from textworld.envs.zmachine.jericho import JerichoEnv

    silence_jericho()
    env = Inform7Data(JerichoEnv())
    env.load(str(story))
    state = env.reset()
    env._send("tw-trace-actions")
    return env, state


def traced_events(text: str) -> tuple[list[str], str]:
    """Return the names of the actions that succeeded, from the traces in a text, and the text without traces."""
    from textworld.envs.wrappers.tw_inform7 import _detect_i7_events_debug_tags

    events: tuple[list[str], str] = _detect_i7_events_debug_tags(text)
    return events


def trace_name(inform7: Any, events: Any, action: Any) -> str:
    """Return the name, in lower case, under which the interpreter traces an action; `events` are a rule's templates."""
    name: str = events[action.name].format(**inform7._get_name_mapping(action))
    return name.lower()


def winning_policy(state: Any) -> Any:
    """Return the actions that win from a state of TextWorld's environment; None where it knows none."""
    return state.get("_winning_policy")


def silence_jericho() -> None:
    """Ignore Jericho's warning that it does not know TextWorld's games, as importing TextWorld does.

    Needed again where somebody has reset the filters since. `warnings.catch_warnings` is not safe for threads.
    """
    from jericho import UnsupportedGameWarning

    warnings.simplefilter("ignore", UnsupportedGameWarning)


@contextmanager
def rules_parsed_once() -> Iterator[None]:
    """Inside the block, TextWorld's parser of rules caches its results."""
    silence_jericho()
    if not patches_enabled():
        yield
        return
    from textworld import logic

    parser = logic._PARSER
    if not isinstance(parser, SimpleNamespace):  # it is one where blocks are nested
        logic._PARSER = _cached(parser)
    try:
        yield
    finally:
        logic._PARSER = parser


@contextmanager
def rule_files_sorted() -> Iterator[None]:
    """Inside the block, TextWorld reads rule files in the order of their names."""
    from textworld import logic

    load = logic.GameLogic.__dict__["load"]

    def load_sorted(cls: Any, files: Iterable[str]) -> Any:
        return load.__func__(cls, sorted(files))

    logic.GameLogic.load = classmethod(load_sorted)
    try:
        yield
    finally:
        logic.GameLogic.load = load


@lru_cache(maxsize=1)
def _cached(parser: Any) -> Any:
    parse_cached = lru_cache(maxsize=128)(lambda text, options: parser.parse(text, **dict(options)))

    def parse(text: str, filename: str | None = None, **options: Any) -> Any:
        return parse_cached(text, tuple(sorted(options.items())))  # the file's name is used in messages only

    return SimpleNamespace(parse=parse)
