"""Text that states a return in a token stream, for the optimizer `decision`.

Play and training write the return through this module only, so that the model reads the same tokens in both.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

ReturnPlace: TypeAlias = Literal["turn", "prefix"]
DIGITS = 2
"""Number of decimal places of a stated return. It is small, so that rounding errors of sums are not visible."""


@dataclass(slots=True, kw_only=True)
class ReturnText:
    """Writes a return into the text of observations: the sum of the rewards from a turn on.

    Attributes:
        place: `turn` states the return-to-go at every turn. `prefix` states the return of the whole episode before the
            opening text, in the words of the code of Turner and Einhorn (2023).
        wanted: return that an agent aims at when it plays, in units of reward. None if it is not known yet.
    """

    place: ReturnPlace = "turn"
    wanted: float | None = None

    def added_to(self, observation: str, remaining: float, *, first: bool, game_prompt: str) -> str:
        """Return an observation, with a text that states `remaining`, the sum of the rewards from this turn on.

        If `place` is "prefix", the text precedes the first observation, and all later observations are unchanged. If
        `place` is "turn", the text follows each observation, so that streams with different returns share the opening
        text. In a game without a prompt, a command continues the observation, so the text precedes each observation.
        """
        if self.place == "prefix":
            return f"This play through has a return of {number(remaining)}\n{observation}" if first else observation
        stated = f"Return: {number(remaining)}"
        return f"{observation}\n{stated}" if game_prompt.strip() else f"{stated}\n{observation}"

    @property
    def words(self) -> tuple[str, ...]:
        """Texts that together contain every word, digit and sign that `added_to` can add to an observation."""
        return ("\n", self.added_to("", 0.0, first=True, game_prompt=""), *"0123456789.-")


def number(value: float) -> str:
    """Return a number with at most two decimal places, such as "0.3" or "-2"."""
    text = f"{round(value, 9):.{DIGITS}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
