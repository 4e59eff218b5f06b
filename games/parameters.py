"""Declare the parameters of games, and convert their values to and from text such as `level=3&goal=none`.

A game declares a tuple of `Parameter`s. Parsing converts each setting to a value of the declared type and range. An
invalid setting raises GameError with one line that states what was expected. Formatting writes each value in its
canonical form.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias
from urllib.parse import quote, unquote

from games.errors import GameError, nearest

Value: TypeAlias = int | float | bool | str | tuple[str, ...] | tuple[float, ...]
"""The value of a setting. Values are hashable, and their conversion to text is lossless."""

Kind = Literal["int", "float", "bool", "choice", "text", "words", "numbers"]
TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
SAFE = " ,.'!-"
"""Characters that are not percent-encoded in a GAME string, in addition to letters and digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of a game."""

    name: str
    kind: Kind
    help: str
    """One line for the documentation."""
    default: Value | None = None
    """The default value. If None, the default depends on the other settings."""
    low: float | None = None
    high: float | None = None
    """`low` and `high` are the inclusive bounds of a number."""
    choices: tuple[Value, ...] = ()

    def parse(self, text: str) -> Value:
        """Return the value that `text` stands for. Raise GameError if `text` is invalid."""
        value = self._convert(text.strip() if self.kind not in ("text", "words") else text)
        if self.choices and value not in self.choices:
            words = [self.format(choice) for choice in self.choices]
            hint = nearest(text, words) if self.kind == "choice" else ""
            raise GameError(f"{self.name}={text}: expected one of {', '.join(words)}; {hint}".rstrip("; "))
        return value

    def format(self, value: Value) -> str:
        """Return `value` as text, which `parse` converts back to `value`."""
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
            number = float(word)
        except ValueError:
            number = math.nan
        return self._check(number, text)

    def _check(self, number: float, text: str) -> float:
        low, high = self.low, self.high
        inside = (low is None or number >= low) and (high is None or number <= high)
        if not inside or not math.isfinite(number):
            raise GameError(f"{self.name}={text}: expected a number{self._range()}")
        return number

    def _range(self) -> str:
        if self.low is not None and self.high is not None:
            return f" from {_number(self.low)} to {_number(self.high)}"
        if self.low is not None:
            return f" of at least {_number(self.low)}"
        return "" if self.high is None else f" of at most {_number(self.high)}"


def split_query(query: str, game: str) -> dict[str, str]:
    """Return the settings in a text such as `a=1&b=two%20words` as a dictionary from names to texts, in order.

    Raise GameError if a part is not NAME=VALUE or if a name occurs twice.
    """
    words: dict[str, str] = {}
    for part in query.split("&") if query else ():
        name, equals, text = part.partition("=")
        name = unquote(name).strip()
        if not equals or not name:
            raise GameError(f"{game}: expected settings as name=value joined by '&', got {part!r}")
        if name in words:
            raise GameError(f"{game}: the setting {name!r} is given twice")
        words[name] = unquote(text)
    return words


def parse_settings(table: Sequence[Parameter], words: Mapping[str, str], game: str) -> dict[str, Value]:
    """Return the given settings as values, in the order of `table`.

    Raise GameError if a name is not in `table` or a value is invalid.
    """
    known = {parameter.name: parameter for parameter in table}
    for name in words:
        if name not in known:
            raise GameError(f"{game} has no setting {name!r}; {nearest(name, known)}")
    try:
        return {name: known[name].parse(words[name]) for name in known if name in words}
    except GameError as error:
        raise GameError(f"{game}: {error}") from None


def format_settings(table: Sequence[Parameter], values: Mapping[str, Value]) -> str:
    """Return the settings as the part of a GAME string after `?`, in the order of `table`."""
    given = [parameter for parameter in table if parameter.name in values]
    return "&".join(f"{p.name}={quote(p.format(values[p.name]), safe=SAFE)}" for p in given)


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))
