"""Settings of a game as text: `level=3&goal=none`, checked against a table, and written back canonically.

A game declares a table of `Parameter`s. What a setting means to the game is the game's affair; here a word
becomes a value of the right type and range, or one clear line saying what was expected.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias
from urllib.parse import quote, unquote

from games.errors import GameError, nearest

Value: TypeAlias = int | float | bool | str | tuple[str, ...] | tuple[float, ...]
"""What a setting can hold; hashable, and written back as text without loss."""

Kind = Literal["int", "float", "bool", "choice", "text", "words", "numbers"]
TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
SAFE = " ,.'!-"
"""Characters that stay readable in a GAME string; the others are percent-encoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One setting of a game."""

    name: str
    kind: Kind
    help: str
    """One line for people."""
    default: Value | None = None
    """None: the game works it out from its other settings."""
    low: float | None = None
    high: float | None = None
    """Inclusive range of numbers."""
    choices: tuple[Value, ...] = ()

    def parse(self, text: str) -> Value:
        """The value that `text` stands for; GameError where it stands for none."""
        value = self._convert(text.strip() if self.kind not in ("text", "words") else text)
        if self.choices and value not in self.choices:
            words = [self.format(choice) for choice in self.choices]
            hint = nearest(text, words) if self.kind == "choice" else ""
            raise GameError(f"{self.name}={text}: expected one of {', '.join(words)}; {hint}".rstrip("; "))
        return value

    def format(self, value: Value) -> str:
        """The text that `parse` reads as `value`."""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, tuple):
            return ",".join(_number(item) if isinstance(item, float) else item for item in value)
        return _number(value) if isinstance(value, float) else str(value)

    def _convert(self, text: str) -> Value:
        if self.kind == "bool":
            if text.lower() not in TRUE + FALSE:
                raise GameError(f"{self.name}={text}: expected true or false")
            return text.lower() in TRUE
        if self.kind == "int":
            if not INTEGER.fullmatch(text):
                raise GameError(f"{self.name}={text}: expected a whole number{self._range()}")
            return int(self._check(int(text), text))
        if self.kind == "float":
            return self._float(text, text)
        if self.kind == "numbers":
            return tuple(self._float(word, text) for word in text.split(","))
        if self.kind == "words":
            return tuple(text.split(","))
        return text

    def _float(self, word: str, text: str) -> float:
        try:
            return self._check(float(word), text)
        except GameError:
            raise
        except ValueError:
            raise GameError(f"{self.name}={text}: expected a number{self._range()}") from None

    def _check(self, number: float, text: str) -> float:
        low, high = self.low, self.high
        inside = (low is None or number >= low) and (high is None or number <= high)
        if not inside or number in (float("inf"), float("-inf")) or number != number:
            raise GameError(f"{self.name}={text}: expected a number{self._range()}")
        return number

    def _range(self) -> str:
        if self.low is not None and self.high is not None:
            return f" from {_number(self.low)} to {_number(self.high)}"
        if self.low is not None:
            return f" of at least {_number(self.low)}"
        return "" if self.high is None else f" of at most {_number(self.high)}"


def split_query(query: str, game: str) -> dict[str, str]:
    """`a=1&b=two%20words` as a dictionary, in order; GameError for a part that is not NAME=VALUE."""
    found: dict[str, str] = {}
    for part in query.split("&") if query else ():
        name, equals, text = part.partition("=")
        name = unquote(name).strip()
        if not equals or not name:
            raise GameError(f"{game}: expected settings as name=value joined by '&', got {part!r}")
        if name in found:
            raise GameError(f"{game}: the setting {name!r} is given twice")
        found[name] = unquote(text)
    return found


def parse_settings(table: Sequence[Parameter], words: Mapping[str, str], game: str) -> dict[str, Value]:
    """The given settings as values, in the table's order; GameError for a name the table lacks."""
    known = {setting.name: setting for setting in table}
    for name in words:
        if name not in known:
            raise GameError(f"{game} has no setting {name!r}; {nearest(name, known)}")
    try:
        return {name: known[name].parse(words[name]) for name in known if name in words}
    except GameError as error:
        raise GameError(f"{game}: {error}") from None


def format_settings(table: Sequence[Parameter], values: Mapping[str, Value]) -> str:
    """The settings as the part of a GAME string after `?`, in the table's order."""
    pairs = ((setting, values[setting.name]) for setting in table if setting.name in values)
    return "&".join(f"{setting.name}={quote(setting.format(value), safe=SAFE)}" for setting, value in pairs)


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))
