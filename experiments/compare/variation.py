"""Values of varied settings: all combinations of lists of values, or a sample of combinations.

A list is written as in "lr=1e-4,1e-3", and a range as in "lr=1e-5..1e-3". Values of a range are sampled log-uniformly.
"""

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from actde.config import value_type, written
from agents.config import FIELDS, parse
from agents.protocol import AgentError

RANGE = re.compile(r"([^,]+?)\.\.([^,]+)")
DIGITS = 3  # significant digits of a number that is sampled from a range
TRIES = 1000  # draws per wanted combination, after which sampling fails because there are too few combinations
Combination = dict[str, Any]  # the value of each varied setting, by name


@dataclass(frozen=True, slots=True, kw_only=True)
class Variation:
    """The values of one varied setting: a list, or the range from the first to the last of `values`."""

    name: str
    values: tuple[Any, ...]
    is_range: bool

    def draw(self, rng: np.random.Generator) -> Any:
        """Return a random value, sampled uniformly from a list or log-uniformly from a range."""
        if not self.is_range:
            return self.values[rng.integers(len(self.values))]
        number = float(f"{np.exp(rng.uniform(*np.log(self.values))):.{DIGITS}g}")
        low, high = self.values
        return min(high, max(low, round(number) if value_type(FIELDS[self.name]) is int else number))


def combinations(texts: Sequence[str], samples: int | None = None) -> list[Combination]:
    """Return all combinations of the varied settings, or `samples` distinct random combinations.

    `texts` contains one text for each setting, such as "lr=1e-4,1e-3" (see `parse_variation`). The random seed is
    fixed, so the combinations for a smaller `samples` are the first ones of a larger `samples`. Without varied
    settings, the only combination is empty.

    Raises:
        AgentError: a text is neither a list nor a range, a setting is repeated, a range is given without `samples`, or
            there are too few combinations to sample.
        ConfigError: a setting is unknown.
    """
    variations = [parse_variation(text) for text in texts]
    names = [variation.name for variation in variations]
    for name in names:
        if names.count(name) > 1:
            raise AgentError(f"--vary {name} is given twice: give all of its values in one --vary")
    if samples is not None:
        return _sampled(variations, samples)
    if ranges := [variation.name for variation in variations if variation.is_range]:
        raise AgentError(f"--vary {ranges[0]} is a range: add --samples N, or list its values as in 1,3,10")
    values = itertools.product(*(variation.values for variation in variations))
    return [dict(zip(names, each, strict=True)) for each in values]


def _sampled(variations: Sequence[Variation], samples: int) -> list[Combination]:
    if not variations:
        raise AgentError("--samples needs --vary, the settings whose values are sampled")
    rng = np.random.default_rng(0)
    found = dict[tuple[Any, ...], None]()
    for _ in range(TRIES * samples):
        found[tuple(variation.draw(rng) for variation in variations)] = None
        if len(found) == samples:
            return [dict(zip((each.name for each in variations), values, strict=True)) for values in found]
    raise AgentError(f"--vary has {len(found)} combinations: expected at most as many --samples, got {samples}")


def parse_variation(text: str) -> Variation:
    """Parse a list such as "lr=1e-4,1e-3" or a range such as "lr=1e-5..1e-3". Only numbers can have a range."""
    name, _, values = text.partition("=")
    name = name.replace("-", "_")
    ends = RANGE.fullmatch(values)
    if ends is None or name not in FIELDS or value_type(FIELDS[name]) not in (int, float):
        name, listed = parse_values(text)
        return Variation(name=name, values=tuple(listed), is_range=False)
    low, high = (parse(name, word) for word in ends.groups())
    whole = value_type(FIELDS[name]) is int
    if not all(isinstance(end, int if whole else int | float) for end in (low, high)) or not 0 < low < high < math.inf:
        kind = "whole numbers" if whole else "numbers"
        raise AgentError(f"expected {name}=LOW..HIGH with {kind} above 0 to sample a setting, got {text!r}")
    return Variation(name=name, values=(low, high), is_range=True)


def value_text(value: object) -> str:
    """Return the value of a setting as it is written after `--vary`: True as "true", texts without quotes."""
    return value if isinstance(value, str) else written(value)


def parse_values(text: str) -> tuple[str, list[Any]]:
    """Parse a text such as "reward_scale=1,3,10" into a tuple (name of the setting, list of its values)."""
    name, _, values = text.partition("=")
    if not name or not values:
        raise AgentError(f"expected NAME=VALUE,VALUE to vary a setting, got {text!r}")
    name = name.replace("-", "_")
    return name, [parse(name, word) for word in values.split(",")]
