"""Fields of settings: each knows its help text, its range and its group, and a record of them checks itself.

A `Record` is a frozen dataclass whose fields were made by `number`, `whole`, `choice`, `flag` or `text`. The
metadata serves whoever shows the settings (a command line, a page of documentation). Needs no torch.
"""

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from typing import Any, Self

from actde.errors import OptimizerError, unknown


def number(
    default: float | None,
    text: str,
    *,
    low: float = 0.0,
    high: float = math.inf,
    above: bool = False,
    below: bool = False,
    optional: bool = False,
    group: str = "Learning",
) -> Any:
    """A field that holds a finite number in [low, high] (`above`, `below`: without that end) or None."""
    rule = {"low": low, "high": high, "above": above, "below": below, "optional": optional}
    return field(default=default, metadata={"help": text, "kind": "number", "group": group, **rule})


def whole(
    default: int | None,
    text: str,
    *,
    low: int = 0,
    high: float = math.inf,
    optional: bool = False,
    group: str = "Learning",
) -> Any:
    """A field that holds a whole number in [low, high] or None."""
    rule = {"low": low, "high": high, "above": False, "below": False, "optional": optional}
    return field(default=default, metadata={"help": text, "kind": "whole", "group": group, **rule})


def choice(default: str, text: str, choices: tuple[str, ...], *, group: str = "Learning") -> Any:
    """A field that holds one of a few words."""
    return field(default=default, metadata={"help": text, "kind": "choice", "choices": choices, "group": group})


def flag(default: bool, text: str, *, group: str = "Learning") -> Any:
    """A field that holds true or false."""
    return field(default=default, metadata={"help": text, "kind": "flag", "group": group})


def text(default: str, text: str, *, group: str = "Learning") -> Any:
    """A field that holds a line of text; what it may say is checked where it is used."""
    return field(default=default, metadata={"help": text, "kind": "text", "group": group})


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Settings that refuse illegal values when they are made, with an `OptimizerError`."""

    def __post_init__(self) -> None:
        for spec in fields(self):
            object.__setattr__(self, spec.name, _checked(spec, getattr(self, spec.name)))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Settings from plain values; an unknown name raises with the nearest one."""
        names = [spec.name for spec in fields(cls)]
        for name in values:
            if name not in names:
                raise unknown("setting", name, names)
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Settings from a strict JSON object (no NaN, no Infinity)."""
        try:
            values = json.loads(text, parse_constant=_refuse_constant)
        except json.JSONDecodeError as error:
            raise OptimizerError(f"settings are not JSON: {error}") from error
        if not isinstance(values, dict):
            raise OptimizerError(f"settings must be a JSON object, got {type(values).__name__}")
        return cls.from_dict(values)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), allow_nan=False, indent=2)


def _refuse_constant(name: str) -> None:
    raise OptimizerError(f"settings are strict JSON, which has no {name}")


def _checked(spec: Field[Any], value: Any) -> Any:
    """The value in its field's own type, or an `OptimizerError` that says what was expected."""
    assert spec.default is not MISSING
    kind, rule = spec.metadata["kind"], spec.metadata
    if kind == "choice":
        if value not in rule["choices"]:
            raise unknown(spec.name, value, rule["choices"])
        return value
    if kind == "flag":
        if not isinstance(value, bool):
            raise OptimizerError(f"{spec.name} must be true or false, got {value!r}")
        return value
    if kind == "text":
        if not isinstance(value, str):
            raise OptimizerError(f"{spec.name} must be text, got {value!r}")
        return value
    if value is None and rule["optional"]:
        return None
    types = (int,) if kind == "whole" else (int, float)
    if isinstance(value, bool) or not isinstance(value, types) or not _inside(rule, value):
        raise OptimizerError(f"{spec.name} must be {_range(rule)}, got {value!r}")
    return int(value) if kind == "whole" else float(value)


def _inside(rule: Mapping[str, Any], value: float) -> bool:
    low, high = rule["low"], rule["high"]
    over = value > low if rule["above"] else value >= low
    under = value < high if rule["below"] else value <= high
    return abs(value) <= sys.float_info.max and over and under


def _range(rule: Mapping[str, Any]) -> str:
    what = "a whole number" if rule["kind"] == "whole" else "a number"
    left, right = "(" if rule["above"] else "[", ")" if rule["below"] or math.isinf(rule["high"]) else "]"
    none = " or none" if rule["optional"] else ""
    return f"{what} in {left}{rule['low']:g}, {rule['high']:g}{right}{none}"
