"""Start TextWorld's own environment without repeated work, and wrap TextWorld's private functions.

* TextWorld parses the same rules for every game and at every load. Parsing takes longer than all other steps of making
  a game. `rules_parsed_once` caches the results of the parser, which depend only on the text.
* The innermost layer of TextWorld's environment (`JerichoEnv`) needlessly plays `look` and `inventory` at every step,
  and searches for valid actions without success. The outer layers obtain these values from the text. `start` therefore
  requests no infos from the innermost layer.
* TextWorld reads rule files in the order of the file system. `rule_files_sorted` makes the order the same on every
  machine, so that the same settings generate the same game.
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
    """Return TextWorld's environment for `story`, a `.z8` file whose name begins with `tw-`.

    `infos` are names of fields of TextWorld's `EnvInfos`. If `fast` is false, the start is not patched.
    """
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
    """Start TextWorld's environment without its slow state tracking.

    Return a tuple: (1) the environment, (2) its first state. The feedback of later steps contains traces of actions,
    which `traced_events` parses.
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
    """Parse the traces of actions in a text.

    Return a tuple: (1) the names of the actions that succeeded, (2) the text without the traces.
    """
    from textworld.envs.wrappers.tw_inform7 import _detect_i7_events_debug_tags

    events: tuple[list[str], str] = _detect_i7_events_debug_tags(text)
    return events


def trace_name(inform7: Any, events: Any, action: Any) -> str:
    """Return the name that the interpreter's traces use for an action, in lower case.

    `events` maps the name of each rule to the template of its trace.
    """
    name: str = events[action.name].format(**inform7._get_name_mapping(action))
    return name.lower()


def winning_policy(state: Any) -> Any:
    """Return the actions that win from a state of TextWorld's environment, or None if TextWorld has no such actions."""
    return state.get("_winning_policy")


def silence_jericho() -> None:
    """Ignore Jericho's warning that a game is not fully supported.

    Importing TextWorld has the same effect, but other code may have reset the warning filters since. This function does
    not use `warnings.catch_warnings`, which is not thread-safe.
    """
    from jericho import UnsupportedGameWarning

    warnings.simplefilter("ignore", UnsupportedGameWarning)


@contextmanager
def rules_parsed_once() -> Iterator[None]:
    """Make TextWorld's rule parser cache its results inside the `with` block."""
    silence_jericho()
    if not patches_enabled():
        yield
        return
    from textworld import logic

    parser = logic._PARSER
    if not isinstance(parser, SimpleNamespace):  # in a nested block, the parser already caches
        logic._PARSER = _cached(parser)
    try:
        yield
    finally:
        logic._PARSER = parser


@contextmanager
def rule_files_sorted() -> Iterator[None]:
    """Make TextWorld read rule files in the order of their names inside the `with` block."""
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
        return parse_cached(text, tuple(sorted(options.items())))  # the file's name is only used in error messages

    return SimpleNamespace(parse=parse)
