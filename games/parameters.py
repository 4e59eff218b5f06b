"""Parameters of games. Convert settings from and to text such as `level=3&goal=none`."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias
from urllib.parse import quote, unquote

from games.errors import GameError, nearest

Value: TypeAlias = int | float | bool | str | tuple[str, ...] | tuple[float, ...]  # hashable
Kind = Literal["int", "float", "bool", "choice", "text", "words", "numbers"]
TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
MAX_RANGE = 10_000
SAFE = " ,.'!-"  # besides letters and digits, the characters that a GAME string does not percent-encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of a game."""

    name: str
    kind: Kind
    help: str
    default: Value | None = None
    low: float = -math.inf
    high: float = math.inf  # both bounds are inclusive
    choices: tuple[Value, ...] = ()

    def parse(self, text: str) -> Value:
        """Convert a text to a value. Raise GameError if the text is invalid."""
        value: Value = text.strip()
        match self.kind:
            case "text":
                return text
            case "words":
                return tuple(text.split(","))
            case "numbers":
                return tuple(self._bounded(_float(word), text) for word in text.split(","))
            case "float":
                return self._bounded(_float(text), text)
            case "bool":
                if text.strip().lower() not in TRUE + FALSE:
                    raise GameError(f"{self.name}={text}: expected true or false")
                return text.strip().lower() in TRUE
            case "int":
                value = self._bounded(int(text) if INTEGER.fullmatch(text.strip()) else math.nan, text, "whole number")
        if self.choices and value not in self.choices:
            words = [self.format(choice) for choice in self.choices]
            hint = f"; {nearest(text, words)}" if self.kind == "choice" else ""
            raise GameError(f"{self.name}={text}: expected one of {', '.join(words)}{hint}")
        return value

    def format(self, value: Value) -> str:
        """Return the text that `parse` converts to `value`."""
        match value:
            case bool():
                return str(value).lower()
            case tuple():
                return ",".join(_number(item) if isinstance(item, float) else item for item in value)
            case float():
                return _number(value)
        return str(value)

    def _bounded(self, number: float, text: str, noun: str = "number") -> float:
        if not self.low <= number <= self.high or math.isinf(number):
            low, high = (_number(end) if math.isfinite(end) else "" for end in (self.low, self.high))
            bounds = f" from {low} to {high}" if low and high else f" of at least {low}" if low else ""
            raise GameError(f"{self.name}={text}: expected a {noun}{bounds}")
        return number


def split_query(query: str, game: str) -> dict[str, str]:
    """Convert settings such as `a=1&b=two%20words` to a dict of decoded strings."""
    texts: dict[str, str] = {}
    for part in query.split("&") if query else ():
        name, equals, text = part.partition("=")
        name = unquote(name).strip()
        if not equals or not name:
            raise GameError(f"{game}: expected settings as name=value joined by '&', got {part!r}")
        if name in texts:
            raise GameError(f"{game}: the setting {name!r} is given twice")
        texts[name] = unquote(text)
    return texts


def parse_settings(parameters: Sequence[Parameter], texts: Mapping[str, str], game: str) -> dict[str, Value]:
    """Convert the texts of settings to values. Raise GameError if a setting is unknown or a text is invalid."""
    by_name = {parameter.name: parameter for parameter in parameters}
    for name in texts:
        if name not in by_name:
            raise GameError(f"{game} has no setting {name!r}; {nearest(name, by_name)}")
    try:
        return {name: by_name[name].parse(texts[name]) for name in by_name if name in texts}
    except GameError as error:
        raise GameError(f"{game}: {error}") from None


def format_settings(parameters: Sequence[Parameter], values: Mapping[str, Value]) -> str:
    """Format settings as the text that follows `?` in a GAME string."""
    return "&".join(f"{p.name}={quote(p.format(values[p.name]), safe=SAFE)}" for p in parameters if p.name in values)


def readable(game: str) -> str:
    """Convert a canonical GAME string to a form for display."""
    head, mark, query = game.partition("?")

    def decode(match: re.Match[str]) -> str:
        return "".join(c if c.isprintable() and c not in "%&+" else quote(c) for c in unquote(match.group()))

    return head + mark + re.sub(r"(%[0-9A-F]{2})+", decode, query)


def level_of(game: str) -> int | None:
    """Return the level in a canonical GAME string, or None."""
    match = re.search(r"[?&]level=([0-9]{1,9})(?:&|$)", game)
    return int(match[1]) if match else None


def parse_levels(text: str, option: str = "--levels") -> list[int]:
    """Parse a list of numbers and ranges. For example, `1-3,7` gives [1, 2, 3, 7].

    Raise GameError for any other text. The message begins with `option`.
    """
    levels: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()) or len(part) > 12:
            raise GameError(f"{option} {text}: expected numbers and ranges, as in 1-3,7")
        if int(high or low) < int(low):
            raise GameError(f"{option} {text}: expected a range from low to high, got {part.strip()}")
        if (count := int(high or low) - int(low) + 1) > MAX_RANGE:
            raise GameError(f"{option} {text}: {count} numbers are too many (at most {MAX_RANGE})")
        levels += range(int(low), int(high or low) + 1)
    return levels


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))


def _float(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan
