"""List the runs of a grid of optimizers, varied settings and seeds.

An optimizer can have settings of its own, as in "ppo+kl_coef=0.1".
"""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from actde.config import format_value, value_type
from actde.registry import optimizer_class
from agents.config import FIELDS, parse
from agents.protocol import AgentError

# Settings that are left out of runs that train no q.
Q_SETTINGS = frozenset(
    {"q_lr", "q_coef", "q_heads", "target_q", "target_rate", "detach_q", "dueling", "guide_beta", "reset_q"}
)
RANGE = re.compile(r"([^,]+?)\.\.([^,]+)")
DIGITS = 3  # significant digits of a number that is sampled from a range
MAX_DRAWS = 1000  # draws per requested combination, after which sampling fails because there are too few combinations
Combination = dict[str, Any]  # the value of each varied setting, by name


@dataclass(frozen=True, slots=True, kw_only=True)
class GridRun:
    """One run of a grid. `varied` holds the name and value of each varied setting."""

    optimizer: str
    seed: int
    varied: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        varied = "".join(f"-{name}={value_text(value)}" for name, value in self.varied)
        return f"{self.optimizer}{varied}-seed{self.seed}"

    def to_json(self) -> dict[str, Any]:
        names, values = ([pair[index] for pair in self.varied] for index in (0, 1))
        setting, value = (names, values) if len(names) > 1 else (next(iter(names), None), next(iter(values), None))
        return {"name": self.name, "optimizer": self.optimizer, "seed": self.seed, "setting": setting, "value": value}

    def explicit(self, common: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of this run, without defaults. `common` holds the settings that all runs share.

        Raises:
            AgentError: `optimizer` has invalid settings.
        """
        name, *own_texts = self.optimizer.split("+")
        own_settings, varied = dict[str, Any](), dict(self.varied)
        for text in own_texts:
            setting, values = parse_values(text) if re.fullmatch(".+=.+", text) else ("", [])
            if len(values) != 1 or setting in ("optimizer", "seed"):
                raise AgentError(f"expected NAME+SETTING=VALUE for an optimizer, got {self.optimizer!r}")
            if setting in varied:
                raise AgentError(f"--vary {setting} would override the {setting} of {self.optimizer!r}: leave out one")
            if setting in own_settings:
                raise AgentError(f"{self.optimizer!r} gives {setting} twice: leave out one")
            own_settings[setting] = values[0]
        return {**common, "optimizer": name, "seed": self.seed, **own_settings, **varied}


def grid_runs(
    optimizers: Sequence[str],
    seeds: Sequence[int],
    combinations: Sequence[Combination],
    common: Mapping[str, Any],
) -> list[GridRun]:
    """Return the distinct runs of a grid. Runs that train no q lack the settings of q."""
    runs = []
    # seeds vary slowest, so that an interrupted grid contains complete comparisons
    for seed, combination, optimizer in itertools.product(seeds, combinations, optimizers):
        run = GridRun(optimizer=optimizer, seed=seed, varied=tuple(combination.items()))
        if not Q_SETTINGS.isdisjoint(combination):
            explicit = run.explicit(common)
            if not (optimizer_class(explicit["optimizer"]).needs_q or explicit.get("train_q")):
                run = replace(run, varied=tuple(pair for pair in run.varied if pair[0] not in Q_SETTINGS))
        runs.append(run)
    return list(dict.fromkeys(runs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Variation:
    """A varied setting. `values` are its values, or the ends of its range."""

    name: str
    values: tuple[Any, ...]
    is_range: bool

    def draw(self, rng: np.random.Generator) -> Any:
        if not self.is_range:
            return self.values[rng.integers(len(self.values))]
        number = float(f"{np.exp(rng.uniform(*np.log(self.values))):.{DIGITS}g}")
        low, high = self.values
        return min(high, max(low, round(number) if value_type(FIELDS[self.name]) is int else number))


def combinations(texts: Sequence[str], samples: int | None = None) -> list[Combination]:
    """Return all combinations of the varied values, or `samples` random combinations.

    `texts` are the arguments of `--vary`.

    Raises:
        AgentError, ConfigError: a text is invalid.
    """
    variations = [parse_variation(text) for text in texts]
    names = [variation.name for variation in variations]
    if fixed := {"optimizer", "seed"}.intersection(names):
        raise AgentError(f"--vary {min(fixed)}: use --{min(fixed)}s instead")
    if repeated := [name for name in names if names.count(name) > 1]:
        raise AgentError(f"--vary {repeated[0]} is given twice: give all of its values in one --vary")
    if samples is not None:
        return _sample_combinations(variations, samples)
    if ranges := [variation.name for variation in variations if variation.is_range]:
        raise AgentError(f"--vary {ranges[0]} is a range: add --samples N, or list its values as in 1,3,10")
    products = itertools.product(*(variation.values for variation in variations))
    return [dict(zip(names, values, strict=True)) for values in products]


def _sample_combinations(variations: Sequence[Variation], samples: int) -> list[Combination]:
    if not variations:
        raise AgentError("--samples needs --vary, the settings whose values are sampled")
    rng = np.random.default_rng(0)
    draws = dict[tuple[Any, ...], None]()
    for _ in range(MAX_DRAWS * samples):
        draws[tuple(variation.draw(rng) for variation in variations)] = None
        if len(draws) == samples:
            return [dict(zip((variation.name for variation in variations), values, strict=True)) for values in draws]
    raise AgentError(f"--samples {samples}: --vary has only {len(draws)} different combinations")


def parse_variation(text: str) -> Variation:
    """Parse a list such as "lr=1e-4,1e-3" or a range such as "lr=1e-5..1e-3"."""
    name, _, values = text.partition("=")
    name = name.replace("-", "_")
    match = RANGE.fullmatch(values)
    if match is None or name not in FIELDS or value_type(FIELDS[name]) not in (int, float):
        name, parsed_values = parse_values(text)
        return Variation(name=name, values=tuple(parsed_values), is_range=False)
    low, high = (parse(name, word) for word in match.groups())
    whole = value_type(FIELDS[name]) is int
    if not all(isinstance(end, int if whole else int | float) for end in (low, high)) or not 0 < low < high < math.inf:
        number_noun = "whole numbers" if whole else "numbers"
        raise AgentError(f"expected {name}=LOW..HIGH with {number_noun} above 0 to sample a setting, got {text!r}")
    return Variation(name=name, values=(low, high), is_range=True)


def value_text(value: object) -> str:
    """Return a setting's value as text in the format of `--vary`."""
    return value if isinstance(value, str) else format_value(value)


def parse_values(text: str) -> tuple[str, list[Any]]:
    """Parse a text such as "reward_scale=1,3,10" into a name and values."""
    name, _, values = text.partition("=")
    if not name or not values:
        raise AgentError(f"expected NAME=VALUE,VALUE to vary a setting, got {text!r}")
    name = name.replace("-", "_")
    return name, [parse(name, word) for word in values.split(",")]
