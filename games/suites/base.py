"""The base class of games from third-party suites."""

from abc import abstractmethod
from collections.abc import Sequence

from games.base import TextGame
from games.parameters import Parameter

MAX_TURNS = 100  # the default turn limit, which is also that of the suites' own environments


class SuiteGame(TextGame):
    """A game of a third-party suite. The first constructor argument of a subclass is the game's name."""

    def __init__(self, *, max_turns: int | None, characters: str = "", render_mode: str | None) -> None:
        limit = MAX_TURNS if max_turns is None else max_turns
        super().__init__(max_turns=limit, characters=characters, render_mode=render_mode)

    @classmethod
    @abstractmethod
    def names(cls) -> Sequence[str]:
        """Return the names of the suite's games."""

    @classmethod
    @abstractmethod
    def parameters_of(cls, name: str) -> tuple[Parameter, ...]:
        """Return the settings of the game `name`. The first setting is `seed`."""
