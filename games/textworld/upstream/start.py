"""Start TextWorld 1.7.0 faster, and wrap its private functions."""

import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from games.files import scratch_folder
from games.textworld.upstream import patched, patches_enabled


def start(story: Path, infos: Iterable[str], *, fast: bool = True) -> Any:
    """Return TextWorld's environment for a file `tw-NAME.z8`.

    `infos` are fields of TextWorld's `EnvInfos`. If `fast` is true, skip redundant work.
    """
    import textworld

    prepare_jericho()
    env_infos = textworld.EnvInfos(**dict.fromkeys(infos, True))
    if not (fast and patches_enabled()):
        return textworld.start(str(story), env_infos)
    with rules_parsed_once():
        env = layer = textworld.start(str(story), env_infos)
    while isinstance(layer, textworld.core.Wrapper):
        layer.__dict__["request_infos"] = env_infos
        layer = layer.__dict__["_wrapped_env"]
    layer.request_infos = textworld.EnvInfos()  # saves `JerichoEnv` extra commands; the outer layers read the text
    return env


def start_untracked(story: Path) -> tuple[Any, Any]:
    """Return (environment, first state).

    The environment prints the names of actions, but does not track the game's state.
    """
    from textworld.envs.wrappers.tw_inform7 import Inform7Data
    from textworld.envs.zmachine.jericho import JerichoEnv

    prepare_jericho()
    env = Inform7Data(JerichoEnv())
    env.load(str(story))
    state = env.reset()
    env._send("tw-trace-actions")
    return env, state


def traced_events(text: str) -> tuple[list[str], str]:
    """Return (names of the actions in a game's output, output without these names)."""
    from textworld.envs.wrappers.tw_inform7 import _detect_i7_events_debug_tags

    events, text = _detect_i7_events_debug_tags(text)
    return events, text


def trace_name(inform7: Any, templates: Any, action: Any) -> str:
    """Return the lower-case name that the interpreter prints for `action`. `templates` maps rule names to templates."""
    return str(templates[action.name].format(**inform7._get_name_mapping(action))).lower()


def winning_policy(state: Any) -> Any:
    """Return actions that win from `state`, or None if unknown."""
    return state.get("_winning_policy")


def prepare_jericho() -> None:
    """Silence Jericho's warning about unsupported games, and set the folder of Jericho's temporary files."""
    import jericho.jericho

    # importing TextWorld does this too, but other code may reset it; `warnings.catch_warnings` is not thread-safe
    warnings.simplefilter("ignore", jericho.UnsupportedGameWarning)
    # Jericho copies its library for every game; later processes clear the folder of a killed process
    in_scratch_folder = partial(tempfile.TemporaryDirectory, dir=scratch_folder())
    jericho.jericho.tempfile = SimpleNamespace(TemporaryDirectory=in_scratch_folder)


def load_record(story: Path) -> Any:
    """Return TextWorld's `Game` from the `.json` beside `story`."""
    from textworld.generator import Game

    with rules_parsed_once():
        return Game.load(str(story.with_suffix(".json")))


@contextmanager
def rules_parsed_once() -> Iterator[None]:
    """Inside the `with` block, TextWorld's rule parser caches its results."""
    prepare_jericho()
    if not patches_enabled():
        yield
        return
    from textworld import logic

    parser = logic._PARSER  # in a nested block, the parser already caches
    with patched(logic, _PARSER=parser if isinstance(parser, SimpleNamespace) else _caching_parser(parser)):
        yield


def rule_files_sorted() -> AbstractContextManager[None]:
    """Inside the `with` block, TextWorld reads rule files sorted by name."""
    from textworld import logic

    load = logic.GameLogic.__dict__["load"]  # gets the files in an order that differs between machines

    def load_sorted(cls: Any, files: Iterable[str]) -> Any:
        return load.__func__(cls, sorted(files))

    return patched(logic.GameLogic, load=classmethod(load_sorted))


@lru_cache(maxsize=1)
def _caching_parser(parser: Any) -> Any:
    parse_cached = lru_cache(maxsize=128)(lambda text, options: parser.parse(text, **dict(options)))

    def parse(text: str, filename: str | None = None, **options: Any) -> Any:
        return parse_cached(text, tuple(sorted(options.items())))  # the file's name is only used in error messages

    return SimpleNamespace(parse=parse)
