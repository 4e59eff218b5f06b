"""Text that states a return in a token stream, for the optimizer `decision`.

Play and training write the return through this module only, so that the model reads the same tokens in both.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

ReturnPlace: TypeAlias = Literal["turn", "prefix"]
DIGITS = 2
"""Number of decimal places of a stated return. It hides rounding errors of sums."""


@dataclass(slots=True, kw_only=True)
class ReturnText:
    """States the return that an episode obtains from a turn on.

    Attributes:
        place: `turn` states the return-to-go at every turn. `prefix` states the return of the whole episode before the
            opening text, in the words of the code of Turner and Einhorn (2023).
        wanted: return that an agent wants in an episode that it plays, in units of reward. None if it is not known yet.
    """

    place: ReturnPlace = "turn"
    wanted: float | None = None

    def added_to(self, observation: str, remaining: float, *, first: bool, game_prompt: str) -> str:
        """Return an observation with the return `remaining`, the sum of the rewards from this turn on.

        If `place` is "turn", the return stands after the observation, so that streams with different returns share the
        opening text. Without a prompt, it stands before the observation, because a command continues the observation.
        """
        if self.place == "prefix":
            return f"This play through has a return of {number(remaining)}\n{observation}" if first else observation
        stated = f"Return: {number(remaining)}"
        return f"{observation}\n{stated}" if game_prompt.strip() else f"{stated}\n{observation}"

    @property
    def words(self) -> tuple[str, ...]:
        """Texts with all words that this class adds to an observation."""
        return ("\n", self.added_to("", 0.0, first=True, game_prompt=""), *"0123456789.-")


def number(value: float) -> str:
    """Return a number with at most two decimal places, such as "0.3" or "-2"."""
    text = f"{round(value, 9):.{DIGITS}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
